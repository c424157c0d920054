"""Places in a nested record, in JMESPath (https://jmespath.org), and rows chosen by what lies there."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import jmespath
from jmespath.exceptions import JMESPathError

from coverage_lab.config import TrafficConfig
from coverage_lab.errors import ConfigError
from coverage_lab.traffic.chat import parsed
from coverage_lab.untrusted.text import shown

Lookup = Callable[[Mapping[str, Any]], object]

_DEPTH: Final = 4
_FIELDS: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def lookup(path: str) -> Lookup:
    """Return what finds the value at `path`: that of the key of this very name, else at the JMESPath, also
    within JSON text on the way; None where nothing is.

    A text that is no JMESPath (`Account ID`) can only be a name.
    """
    try:
        compiled = jmespath.compile(path)
    except JMESPathError:
        return lambda record: record.get(path)
    if "." not in path and _FIELDS.fullmatch(path):
        return lambda record: record.get(path)

    def search(record: Mapping[str, Any]) -> object:
        if path in record:
            return record[path]
        try:
            found = compiled.search(record)
            if found is None and isinstance(text := record.get(start), str | dict):
                opened = _opened(text)
                found = compiled.search({**record, start: opened}) if opened is not text else None
        except JMESPathError:  # a function that does not fit this value
            return None
        return found

    start = head(path)
    return search


def _opened(value: object, depth: int = 0) -> object:
    """Value in which JSON text is what it stands for, as logs hold it that wrap other logs."""
    if isinstance(value, str):
        inner = parsed(value)
        return _opened(inner, depth) if not isinstance(inner, str) else value
    if isinstance(value, dict) and depth < _DEPTH:
        found = {name: _opened(one, depth + 1) for name, one in value.items()}
        return found if any(found[name] is not one for name, one in value.items()) else value
    return value


def head(path: str) -> str:
    """Name of the column that a path starts in; the whole text where it is a name."""
    found = re.match(r'"((?:[^"\\]|\\.)*)"|[A-Za-z_]\w*', path)
    if found is None or not is_path(path):
        return path
    return found.group(1) if found.group(1) is not None else found.group(0)


def is_path(path: str) -> bool:
    """Whether a text can mean a place within a column."""
    try:
        jmespath.compile(path)
    except JMESPathError:
        return False
    return re.fullmatch(r"[A-Za-z_]\w*", path) is None


def fields_of(path: str) -> list[str] | None:
    """Names from column to field where a path is nothing but those, else None."""
    return path.split(".") if _FIELDS.fullmatch(path) else None


def row_filter(config: TrafficConfig) -> Callable[[Mapping[str, Any]], bool] | None:
    """Return what tells whether a row is taken; None where all are.

    Raises
    ------
    ConfigError
        `traffic.filter` is text that is no JMESPath.
    """
    if not config.filter:
        return None
    if isinstance(config.filter, str):
        try:
            compiled = jmespath.compile(config.filter)
        except JMESPathError as error:
            raise ConfigError(
                "traffic.filter: expected a JMESPath such as type == 'GENERATION', got "
                f"'{shown(config.filter, 60)}'"
            ) from error

        def chosen(record: Mapping[str, Any]) -> bool:
            try:
                return bool(compiled.search(record))
            except JMESPathError:
                return False

        return chosen
    wanted = [
        (lookup(path), set(value) if isinstance(value, list) else {value})
        for path, value in config.filter.items()
    ]

    def equal(record: Mapping[str, Any]) -> bool:
        for find, values in wanted:
            value = find(record)
            if not isinstance(value, str | int | bool) or value not in values:
                return False
        return True

    return equal
