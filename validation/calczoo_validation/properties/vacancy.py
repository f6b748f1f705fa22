"""Vacancy formation energy of an elemental crystal, at fixed cell with relaxed ions.

    E_f = E(N - 1 atoms, relaxed) - (N - 1)/N E(N atoms)

Every symmetry-distinct site; several supercells, whose images interact elastically as 1/N: the difference between two
sizes extrapolated with 1/N is the error bar. A second start, with the neighbours displaced into the vacancy, shows when
the symmetric vacancy is not the lowest (it is not in Stillinger-Weber silicon).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.geometry import find_mic

from ..options import option
from ..registry import Context, Output, Property
from ..relax import relax
from ..results import PropertyFailure, PropertyResult, Status
from ..symmetry import Symmetry

RATTLE = 0.1  # A, on the neighbours of the vacancy; a tenth of it elsewhere
INWARD = 0.2  # of their distance, the neighbours' first move towards the vacancy in the displaced start
BROKEN_GATE = 5e-3  # eV
COLLAPSE = 0.5  # of the nearest-neighbour distance


@dataclass(frozen=True)
class Options:
    lengths: tuple[float, ...] = option(
        (10.5, 13.5), "smallest distance of opposite faces of each supercell", unit="A", smoke=(8.0,),
        full=(10.5, 13.5, 17.5), low=2.0, high=200.0,
    )  # fmt: skip
    fmax: float = option(1e-3, "largest force left", unit="eV/A", full=1e-4, low=1e-7, high=0.1)


def run(ctx: Context, result: PropertyResult) -> None:
    crystal, s = ctx.crystal, ctx.options
    if len(crystal.elements) > 1:
        raise PropertyFailure(
            "the vacancy of a compound needs chemical potentials of " + " and ".join(crystal.elements)
            + ", which a single crystal does not define",
            Status.UNSUPPORTED,
        )  # fmt: skip
    cells = _supercells(crystal, s.lengths)
    sites = _sites(crystal, cells)
    starts, keys = _starts(cells, sites)
    with ctx.progress.step("perfect supercells"):
        perfect = [r["energy"] for r in ctx.evaluator.evaluate([c for c, _ in cells], ("energy",))]
    with ctx.progress.step("relaxing vacancies", len(starts)):
        done = relax(ctx.evaluator, starts, fmax=s.fmax, max_steps=ctx.general.max_steps, on_step=ctx.progress.update)
        raw = [r["energy"] for r in ctx.evaluator.evaluate(starts, ("energy",))]
    table = {}
    for key, start, before, after in zip(keys, starts, raw, done, strict=True):
        size = len(cells[key[1]][0])
        share = (size - 1) / size * perfect[key[1]]
        table[key] = {
            "formation": after.energy - share, "unrelaxed": before - share, "converged": after.converged,
            "reason": after.reason, "fmax": after.fmax, "moved": _moved(start, after.atoms), "atoms": size - 1,
            "steps": after.steps,
        }  # fmt: skip
    result.settings.update(
        supercells=[list(c) for _, c in cells], atoms=[len(c) - 1 for c, _ in cells], fmax_eV_A=s.fmax,
        cell="fixed",
    )  # fmt: skip
    result.data["runs"] = [{"site": k[0], "cell": k[1], "start": k[2], **v} for k, v in table.items()]
    nearest = _nearest(crystal.atoms)
    for site in range(len(sites[0])):
        _add_site(result, table, site, len(cells), "" if len(sites[0]) == 1 else f"_site{site + 1}", nearest)


def _supercells(crystal, lengths):
    """A supercell for each length, each larger than the one before: two lengths may round to one cell."""
    cells = []
    for length in lengths:
        cell = crystal.supercell(length)
        while cells and len(cell[0]) <= len(cells[-1][0]):
            length += 0.5
            cell = crystal.supercell(length)
        cells.append(cell)
    return cells


def _sites(crystal, cells) -> list[list[int]]:
    """For every supercell: the atom to remove, one per symmetry-distinct site of the primitive cell."""
    scaled = crystal.atoms.get_scaled_positions()
    out = []
    for cell, _ in cells:
        found = []
        for atom in Symmetry(crystal.atoms).distinct_atoms():
            inside = cell.positions @ np.linalg.inv(crystal.atoms.cell.array)
            delta = inside - scaled[atom]
            found.append(int(np.abs(delta - np.round(delta)).max(axis=1).argmin()))
        out.append(found)
    return out


def _starts(cells, sites):
    """Starting structures with keys (site, cell, "plain" or "displaced"), the latter only in the first cell."""
    starts, keys = [], []
    for c, (cell, _) in enumerate(cells):
        for site, atom in enumerate(sites[c]):
            defect = cell.copy()
            del defect[atom]
            starts.append(defect)
            keys.append((site, c, "plain"))
            if c == 0:
                displaced = defect.copy()
                vectors, away = find_mic(displaced.positions - cell.positions[atom], cell.cell, pbc=True)
                near = away < 1.2 * away.min()
                displaced.positions[near] -= INWARD * vectors[near]
                kicks = np.random.default_rng(20).normal(scale=RATTLE, size=(len(displaced), 3))
                displaced.positions += kicks * np.where(near, 1.0, 0.1)[:, None]
                starts.append(displaced)
                keys.append((site, c, "displaced"))
    return starts, keys


def _moved(before: Atoms, after: Atoms) -> float:
    return float(find_mic(after.positions - before.positions, before.cell, pbc=True)[1].max())


def _nearest(atoms: Atoms) -> float:
    big = atoms.repeat(3)
    d = np.linalg.norm(big.positions - big.positions[len(atoms) * 13], axis=1)
    return float(np.sort(d)[1])


def _add_site(result: PropertyResult, table, site: int, sizes: int, tag: str, nearest: float) -> None:
    first = table[site, 0, "plain"]
    error = source = None
    if sizes > 1:
        second = table[site, 1, "plain"]
        factor = second["atoms"] / (second["atoms"] - first["atoms"])  # E(N) = E + a/N
        error = abs(second["formation"] - first["formation"]) * factor
        source = "two supercells, extrapolated as 1/N"
    where = tag.replace("_", " ")
    main = result.add(
        f"E_vac{tag}", f"Vacancy formation energy{where}", first["formation"], "eV", error=error,
        error_source=source or "one supercell only: no error bar in smoke mode", note=f"{first['atoms']} atoms",
    )  # fmt: skip
    for k in range(1, sizes):
        run_k = table[site, k, "plain"]
        value = result.add(
            f"E_vac{tag}_cell{k + 1}", f"Vacancy formation energy{where}, cell {k + 1}", run_k["formation"], "eV",
            error=error, error_source=source or "", note=f"{run_k['atoms']} atoms",
        )  # fmt: skip
        _judge(value, run_k, nearest)
    unrelaxed = result.add(
        f"E_vac_unrelaxed{tag}", f"Vacancy formation energy{where}, ions not relaxed", first["unrelaxed"], "eV",
        error=None if sizes == 1 else abs(second["unrelaxed"] - first["unrelaxed"]) * factor, error_source=source or "",
        note=f"{first['atoms']} atoms",
    )  # fmt: skip
    _judge(main, first, nearest)
    displaced = table[site, 0, "displaced"]
    if displaced["formation"] < first["formation"] - BROKEN_GATE:
        result.add(
            f"E_vac_lowest{tag}", f"Vacancy formation energy{where}, from displaced atoms", displaced["formation"],
            "eV", error=error, error_source=source or "", note=f"{displaced['atoms']} atoms",
        )  # fmt: skip
        main.flag(
            Status.SUSPICIOUS,
            f"the symmetric vacancy is not the lowest: from displaced atoms the relaxation reaches "
            f"{displaced['formation']:.3f} eV",
        )
        _judge(result[f"E_vac_lowest{tag}"], displaced, nearest)
    if unrelaxed.value is not None and unrelaxed.value < first["formation"] - 1e-6:
        main.flag(Status.FAILED, "the relaxed vacancy has more energy than the unrelaxed one")


def _judge(value, run: dict, nearest: float) -> None:
    if not run["converged"]:
        value.flag(Status.UNCONVERGED, f"the relaxation stopped at {run['fmax']:.2g} eV/A: {run['reason']}")
    if run["moved"] > COLLAPSE * nearest:
        value.flag(
            Status.SUSPICIOUS,
            f"an atom moved by {run['moved']:.2f} A: the neighbourhood of the vacancy has rearranged",
        )
    if value.value is not None and value.value < 0:
        value.flag(Status.UNSTABLE, "negative formation energy: the perfect crystal would form vacancies by itself")
    if value.value is not None and value.value > 15:
        value.flag(Status.SUSPICIOUS, "formation energy above 15 eV")


def plots(models):
    from ..plots import bars

    first = next((r for _, r, _ in models if r.values), None)
    if first is None:
        return []
    names = [v.name for v in first.values]
    series, marks = [], {}
    for label, result, refs in models:
        get = [result[n].value if n in result else None for n in names]
        series.append((label, get, [result[n].error if n in result else None for n in names]))
        for k, n in enumerate(names):
            for ref in refs.get(n, []):
                marks.setdefault(ref["kind"], [None] * len(names))[k] = ref["value"]
    notes = {"E_vac": "relaxed", "E_vac_unrelaxed": "unrelaxed", "E_vac_lowest": "displaced start"}
    labels = [f"{notes.get(v.name, v.name.removeprefix('E_vac_'))}\n{v.note}" for v in first.values]
    caption = "Bars: the model. Marks: reference values."
    return [("vacancy", "Vacancy formation energy", caption, bars(labels, series, marks, "eV"))]


PROPERTY = Property(
    "vacancy", "Vacancy formation energy", run, order=50, plots=plots, options=Options,
    outputs=(Output("E_vac*", "eV", "formation energy of each distinct site, relaxed and unrelaxed"),),
    about="Energy to take one atom out of the crystal and put it back elsewhere in the bulk, with the neighbours "
    "relaxed at fixed cell.",
)  # fmt: skip
