"""Thread safety: many structures one after the other, then from many threads in random order: identical."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from ..base import Check, Comparison, Outcome
from ..context import Context, Result, name_of
from ..structures import fcc

_THREADS = 4
_IDENTICAL = 1e-12
"""Calculators that keep a neighbour list between calls sum in an order that depends on what came before; what a race
between threads does to numbers is larger by orders of magnitude."""


def run(ctx: Context) -> Outcome:
    ctx.need_factory()
    group = ctx.mixture()
    rng = ctx.rng("threads")
    count = 12 if ctx.quick else 32
    structures = [fcc(group, ctx.d(group), rng, (2, 1, 1), strain=0.02) for _ in range(count)]
    for k, atoms in enumerate(structures):
        ctx.save(f"{name_of(group)} {k}", atoms)
    serial = [ctx.compute(a) for a in structures]
    calculators = [ctx.make() for _ in range(_THREADS)]
    orders = [rng.permutation(count) for _ in range(_THREADS)]

    def work(t: int) -> list[tuple[int, Result]]:
        return [(int(k), ctx.compute(structures[k], calc=calculators[t])) for k in orders[t]]

    limit = {name: max(_IDENTICAL, 0.01 * getattr(ctx.tolerances, name)) for name in ("energy", "forces", "stress")}
    if ctx.dtype == "float64":
        limit = {"energy": _IDENTICAL, "forces": 10 * _IDENTICAL, "stress": 10 * _IDENTICAL}
    comparison = Comparison(replace(ctx.tolerances, **limit))
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # makes Python change threads often, which is when races show
    try:
        with ThreadPoolExecutor(_THREADS) as pool:
            results = list(pool.map(work, range(_THREADS)))
    finally:
        sys.setswitchinterval(interval)
    for t, done in enumerate(results):
        for k, result in done:
            comparison.add(f"structure {k} in thread {t}", result, serial[k])
    bitwise = not any(comparison.worst.values())
    return comparison.outcome("", {"threads": _THREADS, "structures": count, "bitwise": bitwise})


CHECK = Check("threads", "thread safety, one calculator per thread", run, order=90, needs=("energy",))
