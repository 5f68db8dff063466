"""Class names and their indices."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tfx_feeder.common.errors import DataError

FILE_NAME = "classes.json"
_MOST_CLASSES = 100_000
_MOST_DIGITS = 20


@dataclass(frozen=True, slots=True)
class ClassTable:
    """Class names in index order.

    Args:
        names: One name per class.

    Raises:
        DataError: There are fewer than two classes.

    Example:
        >>> ClassTable(("cat", "dog")).index("dog")
        1
    """

    names: tuple[str, ...]
    _positions: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.names) < 2:
            found = ", ".join(self.names) or "none"
            raise DataError(f"A classifier needs two classes or more. Found: {found}.")
        object.__setattr__(self, "_positions", {name: i for i, name in enumerate(self.names)})

    def index(self, label: int | str) -> int:
        """Returns the index of a label, given as a class name or a number.

        Raises:
            KeyError: No class matches the label.
        """
        if isinstance(label, str):
            if label in self._positions:
                return self._positions[label]
            if not _is_integer(label):
                raise KeyError(label)
            label = int(label)
        if not 0 <= label < len(self.names):
            raise KeyError(label)
        return label

    def to_json(self) -> str:
        """Returns the class names as JSON, the content of ``classes.json``."""
        return json.dumps(list(self.names), ensure_ascii=False) + "\n"


def class_names_from_labels(labels: Iterable[int | str]) -> tuple[str, ...]:
    """Derives class names from the labels of a data set.

    Integer labels are class indices: the classes are ``"0"`` up to the largest. All other labels
    are class names: the classes are the sorted names. An empty text is no label.

    Raises:
        DataError: An integer label is too large to be a class index.
    """
    found = {str(label) for label in labels} - {""}
    if not found or not all(map(_is_integer, found)):
        return tuple(sorted(found))
    largest = max(map(int, found))
    if largest >= _MOST_CLASSES:
        raise DataError(f"Label {largest} cannot be a class index. Name the classes explicitly.")
    return tuple(map(str, range(largest + 1)))


def add_labels(found: set[Any], labels: Iterable[int | str], where: object) -> None:
    """Adds labels to those found so far.

    Args:
        found: Different labels so far.
        labels: Labels to add.
        where: File of the labels, for the error message.

    Raises:
        DataError: There are more different labels than a classifier can have classes.
    """
    found.update(labels)
    if len(found) > _MOST_CLASSES:
        raise DataError(f"{where}: more than {_MOST_CLASSES:,} different labels.")


def merge_names(parts: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Merges the class names of several splits.

    Example:
        >>> merge_names([("cat", "dog"), ("ant", "dog")])
        ('ant', 'cat', 'dog')
    """
    numbers = all(part == tuple(map(str, range(len(part)))) for part in parts)
    if numbers or all(part == parts[0] for part in parts):
        return max(parts, key=len)
    return tuple(sorted({name for part in parts for name in part}))


def _is_integer(text: str) -> bool:
    digits = text[1:] if text.startswith("-") else text
    return len(digits) < _MOST_DIGITS and digits.isascii() and digits.isdigit()
