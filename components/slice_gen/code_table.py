"""Table of the codes and losses of the examples that are searched, as it is passed by Beam.

A million examples of 20 columns take 40 MB for the codes, 16 MB for hashes and losses, and 48 MB
for the properties of images; the option ``max_searched`` bounds the number of examples.
"""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tfx_feeder.components.slice_gen.encoders import Encoder, IntervalEncoder
from tfx_feeder.components.slice_gen.search import Column

_MOST_VALUES = 10
"""Values of a multivalent feature that are searched."""


@dataclass(frozen=True, slots=True)
class SearchColumn:
    """Column of codes.

    A feature of several values in an example becomes a column for each of its frequent values.

    Args:
        name: Name of the feature.
        code: Value of a multivalent feature that the column stands for.
        values: Description of each code from 1.
    """

    name: str
    code: int | None
    values: tuple[str, ...]

    def code_of(self, codes: Sequence[int]) -> int:
        """Returns the code of an example in this column.

        Args:
            codes: Codes of the feature.
        """
        if self.code is not None:
            return int(self.code in codes)
        return codes[0] if len(codes) == 1 else 0


def search_columns(encoder: Encoder) -> list[SearchColumn]:
    """Returns the columns of a feature."""
    if not encoder.multivalent:
        return [SearchColumn(encoder.name, None, encoder.values)]
    return [
        SearchColumn(encoder.name, code, (value,))
        for code, value in enumerate(encoder.values[:-1][:_MOST_VALUES], 1)
    ]


@dataclass(frozen=True, slots=True)
class CodeTable:
    """Codes, properties and losses of examples.

    Args:
        keys: Hash of each example, uint64 ``[examples]``.
        codes: uint16 ``[examples, columns]``.
        properties: Properties of the images, float64 ``[examples, properties]``.
        losses: Losses, float64 ``[examples]``; NaN if missing.
    """

    keys: np.ndarray
    codes: np.ndarray
    properties: np.ndarray
    losses: np.ndarray

    def pack(self) -> bytes:
        """Returns the table in the form that ``load`` reads."""
        buffer = io.BytesIO()
        for array in (self.keys, self.codes, self.properties, self.losses):
            np.save(buffer, array, allow_pickle=False)
        return buffer.getvalue()

    @classmethod
    def load(cls, records: Iterable[bytes]) -> "CodeTable | None":
        """Joins packed tables, in an order that does not depend on theirs.

        Args:
            records: Packed tables.

        Returns:
            Joined table; ``None`` without records.
        """
        buffers = [io.BytesIO(record) for record in records]
        parts = [[np.load(b, allow_pickle=False) for _ in range(4)] for b in buffers]
        if not parts:
            return None
        keys, codes, properties, losses = map(np.concatenate, zip(*parts, strict=True))
        order = np.argsort(keys, kind="stable")
        return cls(keys[order], codes[order], properties[order], losses[order])


def interval_codes(encoder: IntervalEncoder, values: np.ndarray) -> np.ndarray:
    """Returns the codes of numbers, uint16 ``[examples]``.

    Args:
        encoder: Encoder of intervals.
        values: Numbers, ``[examples]``; NaN if missing.
    """
    codes = np.searchsorted(encoder.bounds, values, side="right") + 1
    return np.where(np.isnan(values), encoder.missing, codes).astype(np.uint16)


def to_columns(columns: Sequence[SearchColumn]) -> list[Column]:
    """Returns the columns in the form of the search."""
    return [Column(column.name, column.values) for column in columns]
