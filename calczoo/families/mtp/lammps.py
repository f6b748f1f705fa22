"""How to use a potential in LAMMPS: the commands for the interfaces of MLIP-2 and MLIP-3, as text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...files.text import write_atomic
from .params import MtpParams
from .text_mtp import labels_of


def lammps_note(params: MtpParams, files: Sequence[str | Path] = ("pot.mtp", "pot.almtp")) -> str:
    """Text for a person who runs this potential with LAMMPS: commands, order of the atom types, units.

    files: names of the potential's files, .mtp for MLIP-2 and .almtp for MLIP-3; a format without a file is left out.
    """
    names = [Path(f).name for f in files]
    old = next((n for n in names if n.endswith(".mtp")), None)
    new = next((n for n in names if n.endswith(".almtp")), None)
    parts = [_head(params), *([_mlip2(old)] if old else []), *([_mlip3(new, params)] if new else [])]
    return "\n".join(parts)


def write_note(params: MtpParams, stem: Path, files: Sequence[str | Path]) -> Path:
    """`stem`.lammps.txt beside the potential's files."""
    return write_atomic(stem.with_name(stem.name + ".lammps.txt"), lammps_note(params, files))


def _head(params: MtpParams) -> str:
    by_label = sorted(zip(labels_of(params), params.elements, strict=True))
    types = "\n".join(f"  type {k + 1} = {e} (type {k} in .cfg files)" for k, e in by_label)
    order = [e for _, e in by_label]
    if [k for k, _ in by_label] != list(range(len(order))):  # files of other programs may leave types out
        return f"""\
{params.name}: moment tensor potential in LAMMPS

Units: `units metal` (eV, A, ps; energies in eV, stress in bar). Cutoff {params.cutoff:g} A.
{types}
The file leaves types out, which ASE's writer of LAMMPS data cannot do: write the potential with the types
0 to {len(order) - 1} for it, or set the types of the data file by hand.
"""
    return f"""\
{params.name}: moment tensor potential in LAMMPS

Units: `units metal` (eV, A, ps; energies in eV, stress in bar). Cutoff {params.cutoff:g} A.
The file names no elements: the order of LAMMPS' atom types is fixed, and `pair_coeff` takes no symbols.
{types}
All {params.n_elements} types must be declared, with their masses, even where a structure lacks one: from ASE,
  write("data.lmp", atoms, format="lammps-data", specorder={order!r}, masses=True)   # {order[0]} first
"""


def _mlip2(name: str) -> str:
    return f"""\
MLIP-2 (interface-lammps-mlip-2)
  in.lammps:
    units         metal
    atom_style    atomic
    read_data     data.lmp
    pair_style    mlip mlip.ini
    pair_coeff    * *
  mlip.ini:
    mtp-filename  {name}
    select        FALSE
"""


def _mlip3(name: str, params: MtpParams) -> str:
    control = ""
    if params.active is not None:
        control = f"""
  with extrapolation grades ({params.active.mode}): save above 2, stop above 10
    pair_style    mlip load_from={name} extrapolation_control=true &
                  extrapolation_control:threshold_save=2 extrapolation_control:threshold_break=10 &
                  extrapolation_control:save_extrapolative_to=preselected.cfg
"""
    return f"""\
MLIP-3 (interface-lammps-mlip-3)
  in.lammps:
    units         metal
    atom_style    atomic
    read_data     data.lmp
    pair_style    mlip load_from={name}
    pair_coeff    * *
{control}"""
