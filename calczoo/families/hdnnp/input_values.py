"""What single keywords of input.nn say: generation, cutoff function, scaling, normalisation, electrostatics."""

from __future__ import annotations

from ...core.errors import OptionError
from .input_nn import Settings
from .keywords import EWALD
from .params import Electrostatics


def read_generation(s: Settings) -> int:
    """2 to 4. nnp_generation (nnp_gen, nnp_type) tells it, or RuNNer's use_electrostatics."""
    pair = s.get("nn_type_short")
    if pair is not None and pair.args != ("1",):
        s.fail(pair, f"nn_type_short {' '.join(pair.args)[:20]}", "1, networks of atoms")
    entry = s.get("nnp_generation")
    if entry is not None:
        s.count(entry, 1, 1, "generation")
        text = entry.args[0]
        known = {"2": 2, "3": 3, "4": 4, "2G": 2, "3G": 3, "4G": 4, "HDNNP_2G": 2, "HDNNP_4G": 4}
        known |= {"2G-HDNNP": 2, "3G-HDNNP": 3, "4G-HDNNP": 4}
        if entry.word in ("nnp_type", "nn_type"):
            known["0"] = 2
        if text not in known:
            what = f"'{entry.word} {text[:20]}'"
            if text in ("1", "10", "HDNNP_Q", "Q-HDNNP"):
                what += ", charges as inputs without electrostatics,"
            s.fail(entry, f"{what} is not part of this family", "generation 2, 3 or 4")
        return known[text]
    if not s.has("use_electrostatics"):
        return 2
    kind = s.get("electrostatic_type")
    if kind is not None and kind.args != ("1",):
        what = f"electrostatic_type {' '.join(kind.args)[:20]}"
        s.fail(kind, what, "1, charges of networks of their own (generation 3), or 'nnp_generation 4'")
    return 3


def read_cutoff(s: Settings, only_compact: bool) -> tuple[int, float]:
    """Kind of the cutoff function and alpha."""
    entry = s.get("cutoff_type")
    if entry is None and only_compact:
        return 1, 0.0
    entry = s.need("cutoff_type")
    s.count(entry, 1, 2, "type [alpha]")
    kind = s.int(entry, 0, "the kind of cutoff function", 0, 8)
    alpha = s.float(entry, 1, "alpha") if len(entry.args) > 1 else 0.0
    if not 0 <= alpha < 1:
        s.fail(entry, f"alpha {alpha:g}", "0 <= alpha < 1")
    return kind, alpha


def read_scaling_mode(s: Settings) -> str:
    """One of params.SCALINGS; as in n2p2, sigma counts where neither of the others is given."""
    scale, center = s.has("scale_symmetry_functions"), s.has("center_symmetry_functions")
    for own, other in (("scale_min_elec", "scale_min_short"), ("scale_max_elec", "scale_max_short")):
        default = float(other == "scale_max_short")
        if s.has(own) and s.number(own, default) != s.number(other, default):
            s.fail(s.get(own), f"{own} differs from {other}", "the same scaling for both networks")
    if scale or center:
        return "scale+center" if scale and center else "scale" if scale else "center"
    return "sigma" if s.has("scale_symmetry_functions_sigma") else "none"


def read_normalisation(s: Settings) -> dict[str, float]:
    """mean_energy, conv_energy and conv_length are there together or not at all."""
    keys = ("mean_energy", "conv_energy", "conv_length")
    there = [k for k in keys if s.has(k)]
    if there and len(there) < len(keys):
        missing = [k for k in keys if k not in there]
        s.fail(s.get(there[0]), f"'{there[0]}' without '{missing[0]}'", f"{', '.join(keys)} together, or none")
    out = {"mean_energy": s.number("mean_energy", 0.0)}
    for key in ("conv_energy", "conv_length", "conv_charge"):
        out[key] = s.number(key, 1.0)
        if out[key] <= 0:
            s.fail(s.get(key), f"{key} {out[key]:g}", "a positive number")
    return out


def read_electrostatics(s: Settings) -> Electrostatics:
    """Coulomb constant, screening, and the keywords of Ewald sums as they are."""
    epsilon = s.number("four_pi_epsilon", 1.0)
    if not 1e-300 < epsilon < 1e300:
        s.fail(s.get("four_pi_epsilon"), f"four_pi_epsilon {epsilon:g}", "a positive number")
    kept = [(e.word, " ".join(e.args)) for e in s.entries if e.key in EWALD or e.key == "four_pi_epsilon"]
    entry = s.get("screen_electrostatics")
    if entry is None:
        return Electrostatics(coulomb=1.0 / epsilon, keywords=tuple(kept))
    s.count(entry, 2, 3, "inner outer [core]")
    core = entry.args[2] if len(entry.args) > 2 else "c"
    try:
        inner, outer = s.float(entry, 0, "the inner radius"), s.float(entry, 1, "the outer radius")
        return Electrostatics(1.0 / epsilon, inner, outer, core, tuple(kept))
    except OptionError as error:
        s.fail(entry, str(error), "'screen_electrostatics inner outer [core]'")
