"""YAML as plain data: no tags that make objects, and a key given twice is an error instead of a silent choice."""

from __future__ import annotations

from typing import Any

import yaml

from calczoo.core.errors import DataError


class _Unique(yaml.SafeLoader):
    """Safe loading with keys that are texts and stand once."""


def _mapping(loader: _Unique, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise DataError(f"line {key_node.start_mark.line + 1}: key {key!r} is no text")
        if key in seen:
            raise DataError(f"line {key_node.start_mark.line + 1}: key {key!r} is given twice")
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Unique.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def parse_yaml(text: str, unique: bool = False) -> Any:
    """Plain data of one YAML document; `unique`: also refuse keys given twice (slower).

    Errors: DataError with the line where there is one.
    """
    kind = _Unique if unique else getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        loader = kind(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except DataError:
        raise
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise DataError(f"{where}{getattr(error, 'problem', None) or str(error).splitlines()[0]}") from error
