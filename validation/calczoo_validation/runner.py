"""validate(): run properties for one or several calculators on one crystal."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

from ase import Atoms

from calczoo.core.errors import OptionError

from .engine import Evaluator
from .options import General, check_mode, resolve
from .progress import Progress
from .registry import Context, Property, select
from .report import ModelReport, Report
from .results import PropertyFailure, PropertyResult, Status
from .store import Store, environment
from .structures import Crystal, make_crystal


def validate(
    calculators: Any,
    *,
    proto: str | None = None,
    structure: Atoms | str | Path | None = None,
    properties: None | str | Sequence[str] = None,
    mode: str = "fast",
    out: str | Path | None = None,
    label: str | Sequence[str] | None = None,
    progress: bool = True,
    max_batch_atoms: int = 20000,
) -> Report:
    """Validate one calculator, or several side by side, on one crystal.

    calculators: an ASE calculator, a list of them, or a dict label -> calculator. One with `evaluate(list_of_atoms,
    properties)` is used in batches. proto: "Mo:bcc", "NaCl:rocksalt", "Si:diamond:5.43"; or structure: Atoms, or a file
    that ase.io reads. properties: None for all, a name or suite ("static", "vibrations", "defects"), or a list of
    them. mode: "smoke", "fast" or "full". out: a folder; each result is written there when it is finished, the report
    at the end. A property that fails is reported with its reason and the others go on.

    Errors: ValueError for an unknown mode, property or prototype.
    """
    check_mode(mode)
    chosen, problems = select(list(properties) if isinstance(properties, tuple) else properties)
    crystal = make_crystal(proto, structure)
    models = _labelled(calculators, label)
    store = Store(out) if out is not None else None
    report = Report(structure=crystal.to_dict(), mode=mode, environment=environment(), notes=problems)
    with Progress(progress) as bar:
        for name, calculator in models:
            batched = callable(getattr(calculator, "evaluate", None))
            model = ModelReport(label=name, card=card_of(calculator), batched=batched)
            report.models.append(model)
            _run_model(model, calculator, crystal, chosen, mode, bar, store, max_batch_atoms)
    if store is not None:
        report.save(store.folder)
    return report


def _run_model(
    model: ModelReport, calculator: Any, crystal: Crystal, chosen: list[Property], mode: str, bar: Progress,
    store: Store | None, max_batch_atoms: int,
) -> None:  # fmt: skip
    """All properties of one model; what one of them raises ends up in its own result."""
    start = time.perf_counter()
    evaluator = Evaluator(calculator, max_batch_atoms, bar.advance)
    context = Context(evaluator, crystal, general=resolve(General, mode), mode=mode, results=model.results, progress=bar)
    for k, prop in enumerate(chosen):
        bar.outer(f"{model.label}: {prop.title}", k, len(chosen))
        context.options = resolve(prop.options, mode, where=prop.name)
        result = run_property(prop, context)
        model.results[prop.name] = result
        model.seconds = time.perf_counter() - start
        model.evaluations = evaluator.counts()
        if store is not None:
            store.write_result(model.label, result)


def run_property(prop: Property, context: Context) -> PropertyResult:
    """One property, never raising: errors become a status with the reason."""
    result = PropertyResult(prop.name, prop.title)
    before, start = context.evaluator.counts(), time.perf_counter()
    unusable = (Status.FAILED, Status.UNSUPPORTED)
    for need in prop.needs:
        earlier = context.results.get(need)
        if earlier is None or earlier.status in unusable or not earlier.values:
            status = Status.UNSUPPORTED if earlier and earlier.status is Status.UNSUPPORTED else Status.FAILED
            why = earlier.reason if earlier else "it has not been run"
            title = earlier.title.lower() if earlier else need
            result.flag(status, f"needs the {title}, which could not be computed: {why}")
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
        known = unsupported or type(error).__name__ == "EvaluationError"
        text = str(error) if known else f"{type(error).__name__}: {error}"
        result.flag(Status.UNSUPPORTED if unsupported else Status.FAILED, text, names=())
    result.finish()
    result.seconds = time.perf_counter() - start
    after = context.evaluator.counts()
    result.evaluations = {key: after[key] - before[key] for key in after}
    return result


def _labelled(calculators: Any, label: str | Sequence[str] | None) -> list[tuple[str, Any]]:
    """(label, calculator) pairs with distinct labels."""
    if isinstance(calculators, Mapping):
        return [(str(k), v) for k, v in calculators.items()]
    many = list(calculators) if isinstance(calculators, list | tuple) else [calculators]
    if not many:
        raise OptionError("no calculator given")
    labels = [label] if isinstance(label, str) else list(label) if label is not None else [name_of(c) for c in many]
    if len(labels) != len(many):
        raise OptionError(f"{len(labels)} labels for {len(many)} calculators")
    seen: dict[str, int] = {}
    out = []
    for text, calculator in zip(labels, many, strict=True):
        seen[text] = seen.get(text, 0) + 1
        out.append((text if seen[text] == 1 else f"{text} ({seen[text]})", calculator))
    return out


def name_of(calculator: Any) -> str:
    """Name of a calculator: its card's, its own, or its class's."""
    card = card_of(calculator)
    if card.get("name"):
        family = card.get("family")
        return f"{family}:{card['name']}" if family and ":" not in str(card["name"]) else str(card["name"])
    name = getattr(calculator, "label", None) or getattr(calculator, "name", None)
    return str(name) if isinstance(name, str) and name else type(calculator).__name__


def card_of(calculator: Any) -> dict[str, Any]:
    """The calculator's card as plain data; an empty dict where it has none."""
    card = getattr(calculator, "card", None)
    if card is None:
        return {}
    if hasattr(card, "to_dict"):
        return dict(card.to_dict())
    if isinstance(card, Mapping):
        return dict(card)
    return {f: getattr(card, f) for f in card.__dataclass_fields__} if is_dataclass(card) else {}
