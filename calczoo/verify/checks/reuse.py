"""Reuse: a calculator used on another structure, other size, other elements, gives what a fresh one gives."""

from __future__ import annotations

from collections.abc import Iterator

from ase import Atoms

from ..base import Check, Outcome
from ..context import Context, raw_result
from ..structures import diamond_cluster, fcc


def _structures(ctx: Context) -> list[tuple[str, Atoms]]:
    """A chain in which each structure differs from the one before in another way."""
    group, first, last = ctx.mixture(), (ctx.elements[0],), (ctx.elements[-1],)
    rng = ctx.rng("reuse")
    crystal = fcc(group, ctx.d(group), rng, strain=0.02)
    moved = crystal.copy()
    moved.positions += 0.05 * rng.uniform(-1, 1, moved.positions.shape)
    strained = moved.copy()
    strained.set_cell(strained.cell.array * 1.03, scale_atoms=True)
    opened = strained.copy()
    opened.pbc = (True, True, False) if ctx.takes_slabs else False
    return [
        ("crystal", crystal),
        ("moved", moved),
        ("other cell", strained),
        ("other pbc", opened),
        ("larger", crystal.repeat((2, 1, 1))),
        ("cluster", diamond_cluster(group, ctx.d(group), rng)),
        ("one atom", Atoms(list(first), positions=[[0, 0, 0]])),
        ("first element", fcc(first, ctx.d(first), rng)),
        ("last element", fcc(last, ctx.d(last), rng)),
        ("crystal again", crystal),
    ]


def _changed_in_place(ctx: Context, calc) -> Iterator[tuple[str, Atoms]]:
    """One Atoms object that is changed while the calculator is attached."""
    group = ctx.mixture()
    atoms = fcc(group, ctx.d(group), ctx.rng("reuse in place"), strain=0.02)
    atoms.calc = calc
    yield "at first", atoms
    atoms.positions[0] += 0.1
    yield "one atom moved in place", atoms
    atoms.set_cell(atoms.cell.array * 1.02, scale_atoms=False)
    yield "cell changed in place", atoms
    atoms.pbc = (True, False, True) if ctx.takes_slabs else False
    yield "pbc changed in place", atoms
    if len(ctx.elements) > 1:
        atoms.numbers[:] = atoms.numbers[::-1].copy()
        yield "elements changed in place", atoms


def run(ctx: Context) -> Outcome:
    ctx.need_factory()
    comparison = ctx.comparison()
    reused = ctx.make()
    for label, atoms in _structures(ctx):
        fresh = ctx.compute(ctx.save(label, atoms), calc=ctx.make())
        comparison.add(label, ctx.compute(atoms, calc=reused, label=label), fresh)
    reused = ctx.make()
    for label, atoms in _changed_in_place(ctx, reused):
        fresh = raw_result(ctx.make(), atoms, ("energy",))
        comparison.add(label, {"energy": atoms.get_potential_energy()}, fresh)
    return comparison.outcome(ctx.boundaries_note())


CHECK = Check("reuse", "reused as a fresh one", run, order=150, needs=("energy",))
