"""What a property hands back: numbers, each with unit, numerical error bar, status and reason."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """How far a number may be trusted as a number of this model (not: how well the model does).

    ok            computed, converged, all sanity gates passed
    unsupported   the calculator, or this property, cannot do it
    suspicious    computed, but a sanity gate or the error bar speaks against it
    unconverged   an iteration stopped before its tolerance
    unstable      the structure is not a minimum of this model (elastic or phonon instability)
    failed        an error; see the reason
    """

    OK = "ok"
    UNSUPPORTED = "unsupported"
    SUSPICIOUS = "suspicious"
    UNCONVERGED = "unconverged"
    UNSTABLE = "unstable"
    FAILED = "failed"

    @property
    def severity(self) -> int:
        return list(Status).index(self)


def worst(statuses: Iterable[Status]) -> Status:
    """The most severe of some statuses; ok when there are none."""
    return max(statuses, key=lambda s: s.severity, default=Status.OK)


class PropertyFailure(Exception):
    """A property cannot be computed; `status` says in which way and the message why."""

    def __init__(self, reason: str, status: Status = Status.FAILED):
        super().__init__(reason)
        self.status = status


@dataclass
class Value:
    """One number. `error` is its numerical error (same unit), `error_source` says what it was estimated from."""

    name: str
    label: str
    value: float | None
    unit: str
    error: float | None = None
    error_source: str = ""
    status: Status = Status.OK
    reason: str = ""
    note: str = ""

    def __post_init__(self):
        self.status = Status(self.status)
        for key in ("value", "error"):
            number = getattr(self, key)
            if number is not None:
                setattr(self, key, float(number))
        if self.value is not None and not math.isfinite(self.value):
            self.value = None
            self.flag(Status.FAILED, "the result is not a finite number")
        if self.error is not None and not math.isfinite(self.error):
            self.error = None

    def flag(self, status: Status, reason: str) -> None:
        """Lower the status to `status` (never raise it) and add the reason."""
        self.status = worst((self.status, status))
        if reason and reason not in self.reason:
            self.reason = f"{self.reason}; {reason}" if self.reason else reason

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "status": str(self.status)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Value:
        return cls(**{k: v for k, v in data.items() if k in cls.__dataclass_fields__})


@dataclass
class PropertyResult:
    """All numbers of one property for one model, with the curves behind them in `data` (plain lists and floats)."""

    property: str
    title: str
    values: list[Value] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    status: Status = Status.OK
    reason: str = ""
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    evaluations: dict[str, int] = field(default_factory=dict)

    def __post_init__(self):
        self.status = Status(self.status)

    def __getitem__(self, name: str) -> Value:
        for value in self.values:
            if value.name == name:
                return value
        raise KeyError(f"{self.property} has no value {name!r} (has: {', '.join(v.name for v in self.values)})")

    def __contains__(self, name: str) -> bool:
        return any(v.name == name for v in self.values)

    def add(self, name: str, label: str, value: float | None, unit: str, **more: Any) -> Value:
        self.values.append(Value(name, label, value, unit, **more))
        return self.values[-1]

    def flag(self, status: Status, reason: str, names: Iterable[str] | None = None) -> None:
        """Flag the property and, where `names` is given, these values; names=() flags the property alone."""
        self.status = worst((self.status, status))
        if reason not in self.reason:
            self.reason = f"{self.reason}; {reason}" if self.reason else reason
        wanted = None if names is None else set(names)
        for value in self.values:
            if wanted is None or value.name in wanted:
                value.flag(status, reason)

    def finish(self) -> None:
        """Take over the statuses of the values."""
        for value in self.values:
            if value.status.severity > self.status.severity:
                self.status = value.status
            if value.reason and not self.reason:
                self.reason = f"{value.label}: {value.reason}"

    def to_dict(self) -> dict[str, Any]:
        rest = {f: getattr(self, f) for f in self.__dataclass_fields__ if f not in ("values", "status")}
        return {**rest, "status": str(self.status), "values": [v.to_dict() for v in self.values]}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> PropertyResult:
        known = {k: v for k, v in data.items() if k in cls.__dataclass_fields__}
        known["values"] = [Value.from_dict(v) for v in known.get("values", [])]
        return cls(**known)
