"""One item computed from plain data: what a worker does, in this process, in another one, or on another machine."""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from importlib.util import find_spec
from typing import Any

from calczoo.core.errors import CalczooError

from .engine import Evaluator
from .options import General, resolve
from .progress import Progress
from .registry import Context, Property, all_properties
from .results import PropertyFailure, PropertyResult, Status
from .sources import Source
from .structures import Crystal

UNUSABLE = (Status.FAILED, Status.UNSUPPORTED)
_calculators: OrderedDict[str, Any] = OrderedDict()  # of this process, the last few by recipe


def compute(
    job: dict[str, Any], store: Any, calculator: Any = None, progress: Progress | None = None
) -> PropertyResult:
    """Run one job, put the result into the store and return it as it will be read from there.

    `store` holds the results of all that the job needs. `calculator`: a live one, instead of the recipe's.
    """
    calculator = calculator if calculator is not None else _calculator(job["source"])
    known, _ = all_properties()
    prop = known[job["property"]]
    bar = progress or Progress(False)
    needed = {name: store.read(key) for name, key in job["needs"].items()}
    crystal, frames = _inputs(job, needed, prop)
    context = Context(
        Evaluator(calculator, job["max_batch_atoms"], bar.advance), crystal,
        options=resolve(prop.options, job["mode"], job["options"], where=prop.name),
        general=resolve(General, job["mode"], job["general"], where="general"), mode=job["mode"],
        results={k: v for k, v in needed.items() if v is not None}, progress=bar, frames=frames,
        dataset=job["target"]["dataset"],
    )  # fmt: skip
    return store.write(job["key"], job["inputs"], run_property(prop, context))


def _inputs(job: dict[str, Any], needed: dict[str, PropertyResult | None], prop: Property):
    """The crystal, relaxed where the property builds on its relaxation, and the frames of a data set."""
    data = job["target"]["crystal"]
    lattice = needed.get("lattice")
    if lattice is not None and "crystal" in lattice.data:
        data = lattice.data["crystal"]
    frames = []
    if prop.input == "dataset":
        from .datasets import load_dataset

        frames = load_dataset(job["target"]["dataset"])
    return Crystal.from_data(data) if data else None, frames


def _calculator(recipe: dict[str, Any]) -> Any:
    key = json.dumps(recipe, sort_keys=True)
    if key not in _calculators:
        _calculators[key] = Source(**recipe).build()
        while len(_calculators) > 4:
            _calculators.popitem(last=False)
    return _calculators[key]


def run_property(prop: Property, context: Context) -> PropertyResult:
    """One property, never raising: errors become a status with the reason."""
    result = PropertyResult(prop.name, prop.title)
    start = time.perf_counter()
    reason = _obstacle(prop, context)
    if reason is not None:
        result.flag(*reason)
        return result
    try:
        prop.run(context, result)
    except PropertyFailure as error:
        result.flag(error.status, str(error), names=())
    except NotImplementedError as error:  # also ASE's PropertyNotImplementedError
        result.flag(Status.UNSUPPORTED, str(error) or type(error).__name__, names=())
    except Exception as error:  # noqa: BLE001 - anything a foreign calculator raises; the reason is reported
        cause = error.__cause__ or error
        unsupported = type(cause).__name__ == "UnsupportedElement"
        known = unsupported or type(error).__name__ == "EvaluationError" or isinstance(error, CalczooError)
        text = str(error) if known else f"{type(error).__name__}: {error}"
        result.flag(Status.UNSUPPORTED if unsupported else Status.FAILED, text, names=())
    result.finish()
    result.seconds = time.perf_counter() - start
    result.evaluations = context.evaluator.counts()
    return result


def _obstacle(prop: Property, context: Context) -> tuple[Status, str] | None:
    """Status and reason where the property cannot even start."""
    for module, how in prop.requires:
        if find_spec(module) is None:
            return Status.UNSUPPORTED, f"needs the package {module}: {how}"
    for need in prop.needs:
        earlier = context.results.get(need)
        if earlier is None or earlier.status in UNUSABLE or not earlier.values:
            status = Status.UNSUPPORTED if earlier and earlier.status is Status.UNSUPPORTED else Status.FAILED
            why = earlier.reason if earlier else "it has not been run"
            title = earlier.title.lower() if earlier else need
            return status, f"needs the {title}, which could not be computed: {why}"
    return None
