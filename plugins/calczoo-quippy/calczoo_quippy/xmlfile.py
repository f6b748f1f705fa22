"""What a parameter file of QUIP tells without QUIP: elements, cutoff, the files beside it, where it comes from."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

from ase.data import atomic_numbers, chemical_symbols
from calczoo.core.errors import PotentialFileError
from calczoo.files.text import find_file, sha256

EXPECTED = "a parameter file of QUIP, such as gap.xml with its sparseX files beside it"
_NUMBERS = re.compile(r"\b(?:Z\w*|species_Z)\s*=\s*\{*\s*(\d+(?:[\s,]+\d+)*)\s*\}*")
_CUTOFF = re.compile(r"\b(?:cutoff|rcut_hard)\s*=\s*\{*\s*([\d.]+)")


@dataclass(frozen=True)
class Facts:
    """elements: those of the descriptors, () where they name none; cutoff: the largest, A (0 where none is told)."""

    path: Path
    elements: tuple[str, ...]
    cutoff: float
    files: dict[str, str]
    version: str
    kinds: tuple[str, ...]


def read_facts(name: object) -> Facts:
    """Facts of a file. Raises PotentialFileError for one that is no XML, or whose sparseX files are missing."""
    path = find_file(name, EXPECTED)  # type: ignore[arg-type]
    descriptors: list[str] = []
    sparse: list[str] = []
    kinds: list[str] = []
    version = ""
    try:
        for _, element in ElementTree.iterparse(path, events=("end",)):
            if element.tag == "descriptor":
                descriptors.append(element.text or "")
            elif element.tag == "gpCoordinates" and element.get("sparseX_filename"):
                sparse.append(str(element.get("sparseX_filename")))
            elif element.tag.endswith("_params"):
                kinds.append(element.tag.removesuffix("_params"))
                version = element.get("gap_version", version)
            elif element.tag in ("per_type_data", "per_pair_data") and element.get("atomic_num"):
                descriptors.append(f"Z={element.get('atomic_num')}")
            if element.tag == "sparseX":
                element.clear()
    except ElementTree.ParseError as error:
        raise PotentialFileError(path, error.position[0], f"is no XML ({error})", EXPECTED) from error
    if not kinds:
        raise PotentialFileError(path, None, "holds no parameters of QUIP (no <..._params>)", EXPECTED)
    files = {path.name: sha256(path)}
    for other in sparse:
        files[other] = sha256(find_file(other, f"a file of sparse points that {path.name} names", beside=path))
    text = " ".join(descriptors)
    numbers = sorted({int(z) for found in _NUMBERS.findall(text) for z in re.split(r"[\s,]+", found)})
    elements = tuple(chemical_symbols[z] for z in numbers if 0 < z < len(atomic_numbers))
    cutoffs = [float(x) for x in _CUTOFF.findall(text)]
    return Facts(path.absolute(), elements, max(cutoffs, default=0.0), files, version, tuple(dict.fromkeys(kinds)))
