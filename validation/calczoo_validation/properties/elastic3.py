"""Third-order elastic constants of any crystal, from stresses at second differences, relaxed and clamped ions.

With the Lagrangian strain eta = (F^T F - 1)/2 and the second Piola-Kirchhoff stress S = J F^-1 sigma F^-T of a cell
that is stress-free at eta = 0 (K. Brugger, Phys. Rev. 133, A1611, 1964, doi:10.1103/PhysRev.133.A1611),

    S_i = C_ij eta_j + C_ijk eta_j eta_k / 2,   Voigt, eta_4 = 2 eta_yz
    C_ijj = [S_i(+h e_j) + S_i(-h e_j) - 2 S_i(0)] / h^2
    2 C_ijk = [S_i(+h(e_j + e_k)) + S_i(-h(e_j + e_k)) - 2 S_i(0)] / h^2 - C_ijj - C_ikk

at h and 2h, joined as (4 C(h) - C(2h)) / 3. The tensor is averaged over the order of its indices and over the point
group; what that changes is the violation. Error: what the last step changed, the violation, and forces left.

The energies of the same cells give third differences along 21 directions, an independent route that shows stresses
that are not the derivative of the energy. In a cubic crystal, with P = -tr(sigma)/3 and the stress-strain coefficients,

    dC11/dP = -1 - (C11 + C111 + 2 C112) / 3B     dC44/dP = -1 - (C44 + C144 + 2 C166) / 3B
    dC12/dP = +1 - (C12 + C123 + 2 C112) / 3B     dB/dP = -(C111 + 6 C112 + 2 C123) / 9B
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement, permutations

import numpy as np
from ase import Atoms
from ase.units import GPa

from ..options import option
from ..registry import Context, Output, Property
from ..relax import relax
from ..results import PropertyResult, Status
from ..strain import from_voigt, to_voigt
from ..symmetry import Symmetry
from ._tensors import WEIGHT, rotations

NO_FORCE = 1e-7  # eV/A, below this the symmetry leaves the ions no freedom
FLOOR = 1e-8  # eV/A, no relaxation goes below
VIOLATION_GATE = 0.03  # of the largest constant
ERROR_GATE = 0.10
ENERGY_GATE = 0.10
STOP_GATE = 0.01
SOURCE = "two strain magnitudes, symmetry violation, forces left"
TRIPLES = tuple(combinations_with_replacement(range(6), 3))


@dataclass(frozen=True)
class Options:
    strain: float = option(4e-3, "Lagrangian strain; twice this is used as well", low=1e-4, high=0.03)
    relative_force: float = option(
        1e-5, "forces left in a strained cell, relative to those that the strain causes", low=1e-8, high=1.0
    )


def directions() -> list[np.ndarray]:
    """The 21 strain directions e_j and e_j + e_k (6,), Voigt."""
    unit = np.eye(6)
    return [*unit, *(unit[j] + unit[k] for j in range(6) for k in range(j + 1, 6))]


def deformed(atoms: Atoms, eta: np.ndarray) -> tuple[Atoms, np.ndarray]:
    """The cell with Lagrangian strain eta (6,) Voigt, and its symmetric deformation gradient F."""
    tensor = from_voigt(eta * [1, 1, 1, 0.5, 0.5, 0.5])
    values, vectors = np.linalg.eigh(np.eye(3) + 2 * tensor)
    f = (vectors * np.sqrt(values)) @ vectors.T
    out = atoms.copy()
    out.calc = None
    out.set_cell(atoms.cell.array @ f.T, scale_atoms=True)
    return out, f


def piola(stress: np.ndarray, f: np.ndarray) -> np.ndarray:
    """Second Piola-Kirchhoff stress (6,) of a Cauchy stress (6,), same unit."""
    inverse = np.linalg.inv(f)
    return to_voigt(np.linalg.det(f) * inverse @ from_voigt(stress) @ inverse.T)


def run(ctx: Context, result: PropertyResult) -> None:
    h, atoms = ctx.options.strain, ctx.crystal.atoms
    symmetry = Symmetry(atoms)
    stresses, energies, info = _evaluate(ctx, h)
    tensors = {kind: _tensor(s, h, symmetry) for kind, s in stresses.items()}
    share = info["force_left"] / info["force_caused"] if info["force_caused"] > NO_FORCE else 0.0
    info["share_left"] = share
    # Forces left act on the stress in the first order of the strain, so they count divided by it.
    rest = np.abs(_project2(stresses["relaxed"], h, symmetry) - _project2(stresses["clamped"], h, symmetry)).max()
    tensors["relaxed"]["error"] = tensors["relaxed"]["error"] + share * rest / h
    names = independent(symmetry)
    result.settings.update(
        strains=[h, 2 * h], relaxation=f"forces below {ctx.options.relative_force:g} of those the strain causes"
    )
    for kind in ("relaxed", "clamped"):
        t = tensors[kind]
        result.data[kind] = {
            "C_GPa": {_name(i): round(float(t["C"][i]), 6) for i in TRIPLES}, "violation": float(t["violation"]),
        }  # fmt: skip
    result.data.update(space_group=f"{symmetry.symbol} ({symmetry.number})", **info)
    result.data["independent"] = [_name(i) for i in names]
    for index in names:
        for kind in ("relaxed", "clamped"):
            _constant(result, index, kind, tensors[kind])
    result.add(
        "violation", "Symmetry violation", 100 * tensors["relaxed"]["violation"], "%",
        note="of the largest constant, before symmetrisation",
    )  # fmt: skip
    _energy_check(result, energies, tensors, h, atoms.get_volume())
    if symmetry.number >= 195:
        _pressure_derivatives(result, tensors["relaxed"], _project2(stresses["relaxed"], h, symmetry))
    _gates(result, tensors, info)


def _evaluate(ctx: Context, h: float):
    """Second Piola-Kirchhoff stresses in GPa {kind: (2, 22, 2, 6)} [magnitude, direction, sign]; the last direction is
    the unstrained cell. Energies of the clamped and relaxed cells in the same order, and what the relaxation left."""
    atoms = ctx.crystal.atoms
    every = [sign * size * d for size in (h, 2 * h) for d in [*directions(), np.zeros(6)] for sign in (1.0, -1.0)]
    cells, gradients = zip(*(deformed(atoms, eta) for eta in every), strict=True)
    cells = list(cells)
    with ctx.progress.step("strained cells", len(cells)):
        first = ctx.evaluator.evaluate(cells, ("energy", "forces", "stress"))
    caused = max(float(np.linalg.norm(r["forces"], axis=1).max()) for r in first)
    info = {"force_caused": caused, "force_left": 0.0, "unrelaxed": []}
    last = first
    if caused > NO_FORCE:
        with ctx.progress.step("relaxing ions in strained cells", len(cells)):
            done = relax(
                ctx.evaluator, cells, fmax=ctx.general.crystal_fmax, relative=ctx.options.relative_force, floor=FLOOR,
                max_steps=ctx.general.max_steps, on_step=ctx.progress.update,
            )  # fmt: skip
            last = ctx.evaluator.evaluate([d.atoms for d in done], ("energy", "stress"))
        info["force_left"] = max((d.fmax for d in done if d.fmax_start > 0.01 * caused), default=0.0)
        info["unrelaxed"] = sorted({d.reason for d in done if not d.converged})
    shape = (2, 22, 2)
    stresses, energies = {}, {}
    for kind, got in (("clamped", first), ("relaxed", last)):
        s = [piola(r["stress"] / GPa, f) for r, f in zip(got, gradients, strict=True)]
        stresses[kind] = np.array(s).reshape(*shape, 6)
        energies[kind] = np.array([r["energy"] for r in got]).reshape(shape)
    return stresses, energies, info


def _tensor(s: np.ndarray, h: float, symmetry: Symmetry) -> dict:
    """(6, 6, 6) constants in GPa with error and violation."""
    by_step = []
    for part, size in zip(s, (h, 2 * h), strict=True):
        even = (part[:, 0] + part[:, 1] - part[21, 0] - part[21, 1]) / size**2  # [direction, i]
        c = np.zeros((6, 6, 6))
        k = 6
        for a in range(6):
            c[:, a, a] = even[a]
            for b in range(a + 1, 6):
                c[:, a, b] = c[:, b, a] = (even[k] - even[a] - even[b]) / 2
                k += 1
        by_step.append(c)
    raw = (4 * by_step[0] - by_step[1]) / 3
    clean, one = project(raw, symmetry), project(by_step[0], symmetry)
    largest = np.abs(clean).max()
    gap = float(np.abs(raw - clean).max())
    return {
        "C": clean, "one": one, "error": np.abs(clean - one) + gap / 6, "violation": gap / largest if largest else 0.0,
    }  # fmt: skip


def _project2(s: np.ndarray, h: float, symmetry: Symmetry) -> np.ndarray:
    """Second-order constants (6, 6) in GPa from the same cells."""
    by_step = [(p[:6, 0] - p[:6, 1]).T / (2 * size) for p, size in zip(s, (h, 2 * h), strict=True)]
    return symmetry.elastic((4 * by_step[0] - by_step[1]) / 3)


def project(c: np.ndarray, symmetry: Symmetry) -> np.ndarray:
    """(6, 6, 6) averaged over the order of the indices and over the point group."""
    c = sum(np.transpose(c, p) for p in permutations(range(3))) / 6
    m = c * WEIGHT[:, None, None] * WEIGHT[None, :, None] * WEIGHT[None, None, :]
    mean = np.zeros_like(m)
    matrices = rotations(symmetry)
    for g in matrices:
        mean += np.einsum("ai,bj,ck,ijk->abc", g, g, g, m, optimize=True)
    mean /= len(matrices)
    return mean / (WEIGHT[:, None, None] * WEIGHT[None, :, None] * WEIGHT[None, None, :])


def independent(symmetry: Symmetry) -> list[tuple[int, int, int]]:
    """Constants that determine all others: iii first, then by number with C166 before C155, as tables list them."""
    images = {}
    for index in TRIPLES:
        one = np.zeros((6, 6, 6))
        for p in set(permutations(index)):
            one[p] = 1.0
        images[index] = project(one, symmetry)
    # Row `index` holds what each free parameter contributes to that constant.
    order = sorted(TRIPLES, key=lambda i: (len(set(i)) > 1, i))
    order.remove((0, 5, 5))
    order.insert(order.index((0, 4, 4)), (0, 5, 5))
    chosen: list[tuple[int, int, int]] = []
    rows = np.zeros((0, len(TRIPLES)))
    for index in order:
        row = np.array([images[j][index] for j in TRIPLES])
        trial = np.vstack([rows, row])
        if np.linalg.matrix_rank(trial, tol=1e-8) > len(rows):
            rows, chosen = trial, [*chosen, index]
    return sorted(chosen)


def _name(index: tuple[int, int, int]) -> str:
    return "C" + "".join(str(i + 1) for i in index)


def _constant(result: PropertyResult, index, kind: str, tensor: dict) -> None:
    name, value, error = _name(index), tensor["C"][index], tensor["error"][index]
    added = result.add(
        name if kind == "relaxed" else f"{name}_clamped", f"{name}, {kind} ions", value, "GPa", error=error,
        error_source=SOURCE,
    )  # fmt: skip
    if error > max(ERROR_GATE * abs(value), 0.02 * np.abs(tensor["C"]).max()):
        added.flag(Status.SUSPICIOUS, "the two strain magnitudes disagree: forces are noisy or not smooth")


def _energy_check(result: PropertyResult, energies, tensors, h: float, volume: float) -> None:
    """Third differences of the energy along the strain directions against the same sums of constants."""
    worst, largest = 0.0, np.abs(tensors["clamped"]["C"]).max()
    for kind in ("clamped", "relaxed"):
        e = energies[kind]
        for k, d in enumerate(directions()):
            third = (e[1, k, 0] - 2 * e[0, k, 0] + 2 * e[0, k, 1] - e[1, k, 1]) / (2 * h**3) / volume / GPa
            sum_ = float(np.einsum("ijk,i,j,k->", tensors[kind]["C"], d, d, d))
            worst = max(worst, abs(third - sum_) / max(np.abs(d).sum() ** 3, 1.0))
    share = worst / largest if largest else 0.0
    value = result.add(
        "energy_gap", "Third derivatives of the energy against those of the stress", 100 * share, "%",
        note="largest difference along 21 strains, of the largest constant",
    )  # fmt: skip
    if share > ENERGY_GATE:
        value.flag(
            Status.SUSPICIOUS,
            f"energy and stress give third derivatives that differ by {100 * share:.0f} % of the largest constant: the "
            "stress is not the derivative of the energy, or either is noisy",
        )


def _pressure_derivatives(result: PropertyResult, tensor: dict, c2: np.ndarray) -> None:
    labels = {"dC11_dP": "dC11/dP", "dC12_dP": "dC12/dP", "dC44_dP": "dC44/dP", "dB_dP": "dB/dP"}
    best = pressure_derivatives(c2, tensor["C"])
    upper = [pressure_derivatives(c2, tensor["C"] + shift) for shift in (tensor["error"], tensor["one"] - tensor["C"])]
    for key, label in labels.items():
        error = max(abs(u[key] - best[key]) for u in upper)
        note = "from second- and third-order constants, at zero pressure"
        result.add(key, label, best[key], "", error=error, error_source=SOURCE, note=note)


def pressure_derivatives(c: np.ndarray, c3: np.ndarray) -> dict[str, float]:
    """Pressure derivatives of a cubic crystal's stress-strain coefficients at P = 0, from constants in one unit."""
    three_bulk = c[0, 0] + 2 * c[0, 1]
    c111, c112, c123 = c3[0, 0, 0], (c3[0, 0, 1] + c3[0, 0, 2]) / 2, c3[0, 1, 2]
    c144, c166 = c3[0, 3, 3], (c3[0, 4, 4] + c3[0, 5, 5]) / 2
    return {
        "dC11_dP": float(-1 - (c[0, 0] + c111 + 2 * c112) / three_bulk),
        "dC12_dP": float(1 - (c[0, 1] + c123 + 2 * c112) / three_bulk),
        "dC44_dP": float(-1 - (c[3, 3] + c144 + 2 * c166) / three_bulk),
        "dB_dP": float(-(c111 + 6 * c112 + 2 * c123) / (3 * three_bulk)),
    }


def _gates(result: PropertyResult, tensors: dict[str, dict], info: dict) -> None:
    names = [v.name for v in result.values if v.name[0] in "Cd" and not v.name.endswith("_clamped")]
    if info["unrelaxed"]:
        text = f"ions in strained cells did not relax ({info['unrelaxed'][0]})"
        result.flag(Status.UNCONVERGED, f"{text}: the constants lie between the clamped and the true ones", names)
    if info["share_left"] > STOP_GATE:
        result.flag(
            Status.SUSPICIOUS,
            f"{100 * info['share_left']:.1f} % of the forces that the strain causes are left: too loose for second "
            "differences; lower elastic3.relative_force",
            names,
        )
    clamped = [v.name for v in result.values if v.name.endswith("_clamped")]
    for kind, wanted in (("relaxed", names), ("clamped", clamped)):
        violation = tensors[kind]["violation"]
        if violation > VIOLATION_GATE:
            text = f"the tensor breaks the symmetry by {100 * violation:.1f} % of its largest constant"
            result.flag(Status.SUSPICIOUS, text, wanted)


def plots(models):
    from ..plots import bars

    first = next((r for _, r, _ in models if r.data.get("independent")), None)
    if first is None:
        return []
    names, series, marks = first.data["independent"][:14], [], {}
    for label, result, refs in models:
        tag = f"{label}, " if len(models) > 1 else ""
        for kind, suffix in (("relaxed", ""), ("clamped", "_clamped")):
            if kind == "clamped" and len(models) > 1:
                continue
            found = [result[n + suffix] if n + suffix in result else None for n in names]
            values = [v.value if v else None for v in found]
            series.append((f"{tag}{kind} ions", values, [v.error if v else None for v in found]))
        for k, name in enumerate(names):
            for ref in reversed(refs.get(name, [])):  # of several of one kind the first counts
                marks.setdefault(ref["kind"], [None] * len(names))[k] = ref["value"]
    caption = "Bars: the model. Marks: reference values."
    return [("elastic3", "Third-order elastic constants", caption, bars(names, series, marks, "GPa"))]


PROPERTY = Property(
    "elastic3", "Third-order elastic constants", run, order=32, version=2, plots=plots, options=Options,
    sources=("10.1103/PhysRev.133.A1611",),
    outputs=(
        Output("C[1-6][1-6][1-6]", "GPa", "third-order elastic constants with relaxed ions"),
        Output("C[1-6][1-6][1-6]_clamped", "GPa", "third-order elastic constants with clamped ions"),
        Output("dC??_dP", "", "pressure derivatives of the elastic constants of a cubic crystal"),
        Output("dB_dP", "", "pressure derivative of the bulk modulus of a cubic crystal"),
        Output("violation", "%", "how far the tensor breaks the crystal's symmetry before it is projected on it"),
        Output("energy_gap", "%", "third derivatives from energies against those from stresses"),
    ),
    about="How the stiffness changes with strain: the first measure of anharmonicity, and what decides how elastic "
    "constants and sound velocities change with pressure.",
)  # fmt: skip
