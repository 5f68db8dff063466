"""File format of evaluation slices: one versioned JSON document.

SliceGen writes it beside the examples, which carry the names of their slices in a feature of many
values. The Evaluator makes a slice of each value, and this document says what the name stands for.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfx_feeder.schemas.document import JsonDocument, storable

SLICES_FEATURE = "evaluation_slices"
"""Feature of annotated examples: the names of their slices, in UTF-8."""
MISSING = "(missing)"
"""Value in a predicate for examples that lack the feature."""

DECLARED, PROPOSED = "declared", "proposed"
SERVING_SKEW, DRIFT, SPLIT = "serving_skew", "drift", "split"
EVAL = "eval"
"""Split of the current examples; the others are named as the origins."""
ORIGINS = (DECLARED, PROPOSED, SERVING_SKEW, DRIFT, SPLIT)

VERSION = 1
FILE_NAME = "slices.json"

_FORMAT = JsonDocument("tfx_feeder.slices", VERSION, FILE_NAME, "list of evaluation slices")
_BOUNDS = ("effect", "low", "high", "value", "elsewhere")

Predicate = tuple[tuple[str, str], ...]
"""Columns and values of a conjunction."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Measurement that a slice differs from the other examples.

    Args:
        measure: Name of the measured quantity, such as ``error rate``.
        effect: Difference to the other examples; ``None`` if it could not be estimated.
        low: Lower bound of the 95 % confidence interval of the effect.
        high: Upper bound.
        p_value: Probability of such a difference by chance, after correction.
        correction: Correction of the p-value, such as ``Bonferroni over 1204 slices``.
        value: Value of the measure in the slice.
        elsewhere: Value of the measure in the other examples.
        examples: Number of examples in the slice on which the effect was estimated.
    """

    measure: str
    effect: float | None
    low: float | None
    high: float | None
    p_value: float
    correction: str
    value: float | None = None
    elsewhere: float | None = None
    examples: int = 0


@dataclass(frozen=True, slots=True)
class Slice:
    """Evaluation slice.

    Args:
        name: Value of the feature ``evaluation_slices``, such as ``digit 5, form 3``.
        predicate: Columns and values that all hold, sorted by column.
        origin: ``declared``, ``proposed``, ``serving_skew``, ``drift`` or ``split``.
        examples: Number of annotated examples in the slice.
        evidence: Reason for a slice that nobody declared.
    """

    name: str
    predicate: Predicate
    origin: str
    examples: int
    evidence: Evidence | None = None


@dataclass(frozen=True, slots=True)
class SearchSummary:
    """Search for slices in which a model is worse than elsewhere.

    Args:
        model: Location of the model.
        measure: Loss of an example, such as ``error rate``.
        mean: Mean loss of the examples searched.
        searched: Number of examples searched.
        held_out: Number of examples on which the effects were estimated.
        tested: Number of slices tested, by length of the conjunction.
        min_examples: Smallest number of examples of a tested slice.
        margin: Difference of the mean loss that does not matter.
        error_rate: Probability of proposing any slice in which the model is not worse.
    """

    model: str
    measure: str
    mean: float
    searched: int
    held_out: int
    tested: tuple[int, ...]
    min_examples: int
    margin: float
    error_rate: float


@dataclass(frozen=True, slots=True)
class Remark:
    """Part of the data or of the declaration that was left out.

    Args:
        subject: Name of the feature, slice or input.
        reason: Defect, for human readers.
        count: Number of examples or values concerned; 0 if they were not counted.
    """

    subject: str
    reason: str
    count: int = 0

    def __str__(self) -> str:
        counted = f" ({self.count:,})" if self.count else ""
        return f"{self.subject}: {self.reason}{counted}"


@dataclass(frozen=True, slots=True)
class Slices:
    """Evaluation slices of a set of examples.

    Args:
        slices: Slices of at least one example: splits, declared, proposed, and the others.
        examples: Number of examples by split.
        search: Search that proposed slices; ``None`` without a model.
        remarks: Parts of the data or the declaration that were left out.
    """

    slices: tuple[Slice, ...]
    examples: Mapping[str, int]
    search: SearchSummary | None = None
    remarks: tuple[Remark, ...] = ()

    def of_origin(self, origin: str) -> tuple[Slice, ...]:
        """Returns the slices of one origin."""
        return tuple(found for found in self.slices if found.origin == origin)

    def find(self, name: str) -> Slice | None:
        """Returns a slice by name, or ``None``."""
        return next((found for found in self.slices if found.name == name), None)


def slice_name(predicate: Iterable[tuple[str, str]]) -> str:
    """Names a conjunction as ``schemas/evaluation.py`` names the slices of a ``SlicingSpec``.

    Args:
        predicate: Columns and values.

    Example:
        >>> slice_name([("form", "3"), ("digit", "5")])
        'digit 5, form 3'
    """
    return ", ".join(f"{column} {value}" for column, value in sorted(predicate))


def strip_path(folder: str | Path, name: str) -> Path:
    """Returns the path of the picture of a slice, PNG; only clusters of images have one.

    Args:
        folder: Folder of the document.
        name: Name of the slice.
    """
    return Path(folder) / "strips" / f"{name}.png"


def write(slices: Slices, folder: str | Path) -> Path:
    """Writes ``slices.json`` to a folder atomically.

    Args:
        slices: Document to write.
        folder: Target folder.

    Returns:
        Path of the file.
    """
    document = dataclasses.asdict(slices)
    for found in document["slices"]:
        if found["evidence"] is not None:
            found["evidence"] |= {name: _stored(found["evidence"][name]) for name in _BOUNDS}
    if document["search"] is not None:
        document["search"]["mean"] = storable(document["search"]["mean"])
    return _FORMAT.write(document, folder)


def read(folder: str | Path) -> Slices:
    """Reads ``slices.json`` from a folder.

    Raises:
        DataError: The file is missing, damaged, or has an unknown version.
    """
    return _FORMAT.read(folder, _from_document)


def _stored(value: float | None) -> float | str | None:
    return None if value is None else storable(value)


def _from_document(document: dict[str, Any]) -> Slices:
    search = document["search"]
    if search is not None:
        read_search = {"tested": tuple(search["tested"]), "mean": float(search["mean"])}
        search = SearchSummary(**search | read_search)
    return Slices(
        slices=tuple(_slice(found) for found in document["slices"]),
        examples=document["examples"],
        search=search,
        remarks=tuple(Remark(**remark) for remark in document["remarks"]),
    )


def _slice(found: dict[str, Any]) -> Slice:
    evidence = found["evidence"]
    if evidence is not None:
        numbers = {name: evidence[name] for name in _BOUNDS}
        evidence = Evidence(
            **evidence | {k: None if v is None else float(v) for k, v in numbers.items()}
        )
    if found["origin"] not in ORIGINS:
        raise ValueError(f"unknown origin {found['origin']!r}")
    predicate = tuple((column, value) for column, value in found["predicate"])
    return Slice(**found | {"predicate": predicate, "evidence": evidence})
