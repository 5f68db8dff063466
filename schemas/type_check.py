"""Check of the field types of a record that was read from a file."""

import dataclasses
import types
from collections.abc import Mapping
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints


def check_types(record: Any) -> None:
    """Checks that all fields of a dataclass, and of those in it, have their declared types.

    Integers are accepted for floats. Supports the types that JSON documents are read into.

    Args:
        record: Instance of a dataclass.

    Raises:
        TypeError: A field has another type; the message names it.
    """
    for name, expected in _hints(type(record)).items():
        _check(getattr(record, name), expected, name)


@cache
def _hints(record_type: type) -> dict[str, Any]:
    hints = get_type_hints(record_type)
    return {field.name: hints[field.name] for field in dataclasses.fields(record_type)}


def _check(value: Any, expected: Any, name: str) -> None:
    origin, arguments = get_origin(expected), get_args(expected)
    if expected is Any:
        return
    if origin in (Union, types.UnionType):
        _check_union(value, arguments, name)
    elif origin is tuple:
        _check_instance(value, tuple, name)
        for index, part in enumerate(value):
            _check(part, arguments[0], f"{name}[{index}]")
    elif origin is not None and issubclass(origin, Mapping):
        _check_instance(value, Mapping, name)
        for key, part in value.items():
            _check(key, arguments[0], f"a key of {name}")
            _check(part, arguments[1], f"{name}[{key!r}]")
    elif dataclasses.is_dataclass(expected):
        _check_instance(value, expected, name)
        check_types(value)
    elif expected is float:
        _check_instance(value, (int, float), name)
    else:
        _check_instance(value, expected, name)
    if isinstance(value, bool) and expected in (int, float):
        raise TypeError(f"{name} is a bool")


def _check_union(value: Any, alternatives: tuple[Any, ...], name: str) -> None:
    for alternative in alternatives:
        try:
            return _check(value, alternative, name)
        except TypeError:
            continue
    raise TypeError(f"{name} is of type {type(value).__name__}")


def _check_instance(value: Any, expected: Any, name: str) -> None:
    if not isinstance(value, expected):
        raise TypeError(f"{name} is of type {type(value).__name__}")
