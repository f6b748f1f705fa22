"""validate(): run properties for one or several calculators; run(): a whole campaign, from Python or a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ase import Atoms

from calczoo.core.errors import DataError, OptionError

from .campaign import Campaign, Item, Settings, Target
from .executors import execute
from .progress import Progress
from .report import FORMATS, ModelReport, Report
from .results import PropertyResult, Status
from .sources import Source, distinct, label_of
from .store import Store, environment, plain, slug
from .structures import OtherMaterial, make_crystal


class Memory:
    """A store without a folder, for runs whose results are not kept."""

    def __init__(self):
        self.results: dict[str, PropertyResult] = {}

    def read(self, key: str) -> PropertyResult | None:
        return self.results.get(key)

    def write(self, key: str, inputs: dict[str, Any], result: PropertyResult) -> PropertyResult:
        self.results[key] = PropertyResult.from_dict(plain(result.to_dict()))
        return self.results[key]


def validate(
    calculators: Any,
    *,
    proto: str | None = None,
    structure: Atoms | str | Path | None = None,
    dataset: str | Path | None = None,
    properties: None | str | Sequence[str] = None,
    mode: str = "fast",
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    reference: str | Path | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    label: str | Sequence[str] | None = None,
    progress: bool = True,
    max_batch_atoms: int = 20000,
) -> Report:
    """Validate one calculator, or several side by side, on one crystal or data set.

    calculators: an ASE calculator, a list of them, or a dict label -> calculator. One with `evaluate(list_of_atoms,
    properties)` is used in batches. proto: "Mo:bcc", "NaCl:rocksalt", "Si:diamond:5.43"; or structure: Atoms, or a file
    that ase.io reads; and/or dataset: structures with reference energies and forces, by name or file. properties: a
    name or suite ("static", "defects", "all" ...), or a list of them; by default the suite "basic" for a crystal and
    the errors for a data set. mode: "smoke", "fast" or "full". settings: changes by property, {"elastic": {"strain":
    0.005}, "general": {"temperature": 600}}. reference: a user's own reference values or calculations. out: a folder;
    each result is stored there when it is finished, the report at the end; with `resume`, results that are there and
    were computed from the same inputs by the same code are used again. A property that fails is reported with its
    reason and the others go on.

    Errors: OptionError (a ValueError) for an unknown mode, property, setting or prototype.
    """
    sources = [Source(name, live=calculator) for name, calculator in _labelled(calculators, label)]
    target = make_target(proto, structure, dataset)
    campaign = Campaign(sources, [target], properties, Settings(mode, dict(settings or {})), max_batch_atoms)
    run = Run(campaign, out, resume, reference=reference)
    return run.go(progress=progress)[0]


def make_target(proto: str | None, structure: Any, dataset: str | Path | None = None) -> Target:
    """One target from what a user names. Errors: OptionError, InvalidStructure, DataError."""
    crystal = make_crystal(proto, structure) if proto is not None or structure is not None or not dataset else None
    frames: list[Atoms] = []
    if dataset is not None:
        from .datasets import load_dataset

        frames = list(load_dataset(dataset))
        if not frames:
            raise DataError(f"data set {dataset} holds no structures")
    label = crystal.label if crystal else Path(str(dataset)).name
    return Target(label, crystal, str(dataset) if dataset is not None else "", frames)


@dataclass
class Run:
    """A campaign being carried out: which items, where their results go, and the reports in the end."""

    campaign: Campaign
    out: str | Path | None = None
    resume: bool = False
    reference: str | Path | None = None
    shard: str | None = None
    jobs: int = 1
    engine: dict[str, Any] = field(default_factory=dict)
    fail_on: Sequence[str] | None = None
    reports: list[Report] = field(default_factory=list)
    references: list[Any] = field(default_factory=list)

    def __post_init__(self):
        self.store = Store(self.out) if self.out is not None else Memory()
        self.items = self.campaign.shard(self.shard) if self.shard else self.campaign.items
        self.results: dict[str, PropertyResult] = {}

    def plan(self) -> list[tuple[Item, bool]]:
        """Every item, and whether its result is there already."""
        return [(item, self._stored(item) is not None) for item in self.items]

    def _stored(self, item: Item) -> PropertyResult | None:
        """The result of an earlier run; what failed then is tried again."""
        result = self.store.read(item.key)
        return None if result is None or result.status is Status.FAILED else result

    def go(self, progress: bool = True, formats: Sequence[str] | None = None) -> list[Report]:
        """Compute what is missing and write the reports; returns one report per target."""
        self.references = self._references()  # before anything is computed: a bad file is known at once
        todo: list[Item] = []
        for item in {item.key: item for item in self.items}.values():  # what two calculators share is computed once
            earlier = self._stored(item) if self.resume else None
            if earlier is None:
                todo.append(item)
            else:
                self.results[item.key] = earlier
        with Progress(progress) as bar:
            execute(self.campaign, todo, self.store, self._finished, bar, self.jobs, self.engine)
        self.reports = [self.report(t) for t in range(len(self.campaign.targets))]
        if self.out is not None:
            self.save(formats)
        return self.reports

    def _finished(self, item: Item, result: PropertyResult) -> None:
        self.results[item.key] = result

    def report(self, t: int) -> Report:
        """The report of one target, from the results at hand."""
        campaign, target = self.campaign, self.campaign.targets[t]
        models = []
        cards = campaign.cards()
        for m, source in enumerate(campaign.sources):
            results = {
                item.prop.name: self.results[item.key] for item in self.items
                if item.model == m and item.target == t and item.key in self.results
            }  # fmt: skip
            for (model, where, name), refused in campaign.refused.items():
                if (model, where) == (m, t):
                    results[name] = refused
            kinds = ("calls", "structures", "atoms")
            counts = {k: sum(r.evaluations.get(k, 0) for r in results.values()) for k in kinds}
            batched = callable(getattr(campaign.calculators[m], "evaluate", None))
            models.append(ModelReport(source.label, cards[m], results, evaluations=counts, batched=batched))
        notes = [*campaign.problems]
        if self.shard:
            notes.append(f"This is shard {self.shard}: {len(self.items)} of {len(campaign.items)} items.")
        report = Report(describe(target), campaign.settings.mode, environment(), models, notes)
        report.left_out = list(campaign.left_out[t])
        report.reference = self.references[t]
        if self.reference is not None and report.reference is None:
            notes.append(f"{Path(self.reference).name} is of another crystal than {target.label}: not used for it.")
        return report

    def _references(self) -> list[Any]:
        """The own reference of every target; None where it is of another crystal. Errors: DataError."""
        from .reference_files import load_reference

        campaign, found, problem = self.campaign, [], None
        for target in campaign.targets:
            try:
                found.append(None if self.reference is None else load_reference(
                    self.reference, crystal=target.crystal, properties=[p.name for p in campaign.chosen],
                    mode=campaign.settings.mode, settings=campaign.settings.changes,
                ))  # fmt: skip
            except OtherMaterial as error:
                found.append(None)
                problem = error
        if problem is not None and not any(found):
            raise problem
        return found

    def save(self, formats: Sequence[str] | None = None) -> None:
        """Write every report; with several targets each into a folder of its own, and an index beside them."""
        more: dict[str, Any] = {"formats": tuple(formats or FORMATS)}
        if self.fail_on:
            more["fail_on"] = tuple(name for name in self.fail_on if name != "none")
        folder = Path(self.out)
        if len(self.reports) == 1:
            self.reports[0].save(folder, **more)
            return
        from .index import write_index

        names = folder_names([r.structure["label"] for r in self.reports])
        for name, report in zip(names, self.reports, strict=True):
            report.save(folder / name, **more)
        write_index(folder, names, self.reports)


def folder_names(labels: Sequence[str]) -> list[str]:
    """A distinct folder name for each label."""
    out: list[str] = []
    for text in labels:
        name, k = slug(text), 2
        while name in out:
            name, k = f"{slug(text)}-{k}", k + 1
        out.append(name)
    return out


def describe(target: Target) -> dict[str, Any]:
    """The head of a report: the crystal, or the data set."""
    if target.crystal is not None:
        more = {"dataset": Path(target.dataset).name, "frames": len(target.frames)} if target.frames else {}
        return {**target.crystal.to_dict(), **more}
    elements = sorted({s for a in target.frames for s in a.get_chemical_symbols()})
    return {
        "label": target.label, "dataset": Path(target.dataset).name, "frames": len(target.frames), "elements": elements,
        "formula": "", "prototype": "", "reference_key": f"dataset:{target.label}", "space_group": "",
        "atoms_in_cell": sum(len(a) for a in target.frames),
    }  # fmt: skip


def _labelled(calculators: Any, label: str | Sequence[str] | None) -> list[tuple[str, Any]]:
    """(label, calculator) pairs with distinct labels."""
    if isinstance(calculators, Mapping):
        return [(str(k), v) for k, v in calculators.items()]
    many = list(calculators) if isinstance(calculators, list | tuple) else [calculators]
    if not many:
        raise OptionError("no calculator given")
    labels = [label] if isinstance(label, str) else list(label) if label is not None else [label_of(c) for c in many]
    if len(labels) != len(many):
        raise OptionError(f"{len(labels)} labels for {len(many)} calculators")
    sources = distinct([Source(text, live=c) for text, c in zip(labels, many, strict=True)])
    return [(s.label, s.live) for s in sources]
