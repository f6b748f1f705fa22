"""Card files: the facts about a model as JSON beside its parameters."""

from __future__ import annotations

import json
from pathlib import Path

from ..core.card import Card
from ..core.errors import PotentialFileError
from .text import write_atomic

FORMAT = '"format": "calczoo-card/1"'


def is_card(path: Path) -> bool:
    """True for a file that says it is a card, as a fit writes beside its parameters."""
    try:
        return FORMAT in path.read_text(encoding="utf-8")[:200]
    except (OSError, ValueError):
        return False  # absent, or not text: then it is no card


def read_card(path: Path) -> Card:
    """The card in a file. Raises PotentialFileError."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        told.pop("format", None)
        return Card.from_dict(told)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise PotentialFileError(path, None, f"is no card ({error})", "a JSON card beside the parameters") from error


def write_card(card: Card, path: Path) -> Path:
    """Write a card so that `read_card` gives it back."""
    text = json.dumps({"format": "calczoo-card/1", **card.to_dict()}, indent=1, ensure_ascii=False)
    return write_atomic(path, text + "\n")
