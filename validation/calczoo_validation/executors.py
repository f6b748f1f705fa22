"""Who runs the jobs: this process, several processes of this machine, or the nodes that Parsl gets.

All of them compute the same items and put them into the same store, so a campaign may be begun with one and finished
with another. A job is handed out as soon as everything it needs is in the store.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing import active_children, get_context
from typing import Any

from calczoo.core.errors import BackendUnavailable, OptionError

from .campaign import Campaign, Item
from .jobs import compute
from .progress import Progress
from .results import PropertyResult, Status
from .store import Store

Done = Callable[[Item, PropertyResult], None]


def run_serial(campaign: Campaign, items: list[Item], store: Any, done: Done, bar: Progress) -> None:
    """One after the other in this process."""
    for k, item in enumerate(items):
        bar.outer(f"{campaign.sources[item.model].label}: {item.prop.title}", k, len(items))
        done(item, compute(campaign.job(item), store, campaign.calculators[item.model], bar))


def run_processes(campaign: Campaign, items: list[Item], store: Store, done: Done, bar: Progress, jobs: int) -> None:
    """`jobs` worker processes, each with its share of the cores."""
    threads = max(1, (os.cpu_count() or 1) // jobs)
    others = set(active_children())
    with _threads_of_workers(threads), ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        try:
            _schedule(campaign, items, store, done, bar, lambda job: pool.submit(work, job, str(store.folder)))
        except BaseException:  # Ctrl-C above all: the pool would go on with everything that was handed out
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in set(active_children()) - others:
                worker.terminate()
            raise


def run_parsl(campaign: Campaign, items: list[Item], store: Store, done: Done, bar: Progress, settings: dict) -> None:
    """Workers started by Parsl, here or through a batch system (see `parsl_engine.py`)."""
    from . import parsl_engine

    with parsl_engine.workers(settings, store.folder) as submit:
        _schedule(campaign, items, store, done, bar, lambda job: submit(job, str(store.folder.resolve())))


def work(job: dict[str, Any], folder: str) -> str:
    """What a worker does with one job: compute it and leave the result in the store."""
    compute(job, Store(folder))
    return job["key"]


def _schedule(
    campaign: Campaign, items: list[Item], store: Store, done: Done, bar: Progress,
    submit: Callable[[dict[str, Any]], Future],
) -> None:  # fmt: skip
    """Hand out every item once those it needs are finished; a worker that dies costs its item only."""
    waiting = {item.key: item for item in items}
    total, finished = len(waiting), 0
    running: dict[Future, Item] = {}
    lost: set[str] = set()
    while waiting or running:
        ready = [i for i in waiting.values() if not any(k in waiting or k in _keys(running) for k in i.needs.values())]
        for item in ready:
            del waiting[item.key]
            if any(key in lost for key in item.needs.values()):
                lost.add(item.key)
                done(item, _failure(item, "a worker ended while computing what this builds on; --resume tries again"))
                finished += 1
            else:
                running[submit(campaign.job(item))] = item
        if not running:
            continue
        bar.outer(f"{len(running)} running", finished, total)
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            item = running.pop(future)
            error = future.exception()
            result = store.read(item.key) if error is None else None
            if result is None:
                lost.add(item.key)
                what = f"{type(error).__name__}: {error}" if error is not None else "its result is not in the store"
                result = _failure(item, f"the worker did not finish ({what}); --resume tries again")
            done(item, result)
            finished += 1


def _keys(running: dict[Future, Item]) -> set[str]:
    return {item.key for item in running.values()}


def _failure(item: Item, reason: str) -> PropertyResult:
    result = PropertyResult(item.prop.name, item.prop.title)
    result.flag(Status.FAILED, reason)
    return result


@contextmanager
def _threads_of_workers(threads: int) -> Iterator[None]:
    """Thread counts of the processes started within; those of this process stay."""
    names = ("CALCZOO_NUM_THREADS", "OMP_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update({name: str(threads) for name in names})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def execute(
    campaign: Campaign, items: list[Item], store: Any, done: Done, bar: Progress, jobs: int = 1,
    engine: dict[str, Any] | None = None,
) -> None:  # fmt: skip
    """Run the items with the engine asked for: {"name": "local"} or {"name": "parsl", ...}.

    Errors: OptionError where calculators cannot be sent to other processes; BackendUnavailable without Parsl.
    """
    engine = dict(engine or {"name": "local"})
    name = engine.pop("name", "local")
    if name not in ("local", "parsl"):
        raise OptionError(f"unknown engine {name!r}; allowed: local, parsl")
    if jobs < 1:
        raise OptionError(f"jobs is {jobs}; it must be at least 1")
    if name == "local" and jobs == 1:
        run_serial(campaign, items, store, done, bar)
        return
    if not all(source.portable for source in campaign.sources) or not isinstance(store, Store):
        raise OptionError(
            "several processes need calculators given by spec or as module:Class, and a folder for the results (out)"
        )
    if name == "local":
        run_processes(campaign, items, store, done, bar, jobs)
        return
    from importlib.util import find_spec

    if find_spec("parsl") is None:
        raise BackendUnavailable("the engine parsl is not installed: pip install 'calczoo[parsl]'")
    run_parsl(campaign, items, store, done, bar, {"workers": jobs, **engine})
