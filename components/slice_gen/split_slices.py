"""Slices of one split of the output: their names, predicates and evidence."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tfx_feeder.components.slice_gen.annotate import (
    Conditions,
    SliceNamer,
    in_split,
    predicate_of,
)
from tfx_feeder.components.slice_gen.encoders import Encoder
from tfx_feeder.components.slice_gen.passes import SplitNames
from tfx_feeder.schemas.slices import (
    DECLARED,
    SPLIT,
    Evidence,
    Predicate,
    Remark,
    Slice,
    slice_name,
)

Kept = Mapping[tuple[str, ...], Sequence[tuple[int, ...]]]
"""Combinations of codes that are slices, for crosses with too many of them."""


@dataclass(frozen=True, slots=True)
class SplitSlices:
    """Slices of one split.

    Args:
        split: Name of the split.
        encoders: Encoders by column.
        crosses: Declared features and crosses.
        kept: Combinations of codes that are slices, for crosses with too many of them.
        found: Evidence of slices that nobody declared, by origin; of an equal slice, the first
            origin holds.
        named: True if the split is part of the names.
        only_named: True if examples without a slice are not in the split.
    """

    split: str
    encoders: Mapping[str, Encoder]
    crosses: Sequence[tuple[str, ...]] = ()
    kept: Kept = field(default_factory=dict)
    found: Mapping[str, Mapping[Predicate, Evidence]] = field(default_factory=dict)
    named: bool = True
    only_named: bool = False

    @property
    def names(self) -> SplitNames:
        """Function from codes to names."""
        namer = SliceNamer(
            self.encoders,
            self.crosses,
            self.kept,
            [self._conditions(predicate) for predicate in self._found()],
            split=self.split if self.named else "",
        )
        return SplitNames(self.split, namer, self.only_named)

    @property
    def columns(self) -> set[str]:
        """Columns of all slices."""
        found = {column for predicate in self._found() for column, _ in predicate}
        return found.union(*self.crosses)

    def slices(self) -> Iterator[tuple[Predicate, str, Evidence | None]]:
        """Yields the predicate, origin and evidence of each slice."""
        yield ((SPLIT, self.split),), SPLIT, None
        evidence = self._found()
        restriction = self.split if self.named else ""
        origins = dict.fromkeys(self._declared(), DECLARED)
        for origin, of_origin in self.found.items():
            for predicate in of_origin:
                origins.setdefault(predicate, origin)
        for predicate, origin in origins.items():
            yield in_split(predicate, restriction), origin, evidence.get(predicate)

    def _found(self) -> dict[Predicate, Evidence]:
        found: dict[Predicate, Evidence] = {}
        for of_origin in self.found.values():
            found = {**of_origin, **found}
        return found

    def _conditions(self, predicate: Predicate) -> Conditions:
        return tuple(
            (column, self.encoders[column].values.index(value) + 1) for column, value in predicate
        )

    def _declared(self) -> Iterator[Predicate]:
        for cross in self.crosses:
            sizes = (range(1, len(self.encoders[name].values) + 1) for name in cross)
            for combination in (
                self.kept[cross] if cross in self.kept else itertools.product(*sizes)
            ):
                yield predicate_of(tuple(zip(cross, combination, strict=True)), self.encoders)


def translated(kept: Kept, before: Mapping[str, Encoder], now: Mapping[str, Encoder]) -> Kept:
    """Returns combinations in the codes of other encoders of the same columns.

    Args:
        kept: Combinations of codes.
        before: Encoders of the combinations.
        now: Encoders with the same values and others.
    """
    return {
        cross: [
            tuple(
                now[name].values.index(before[name].values[code - 1]) + 1
                for name, code in zip(cross, combination, strict=True)
            )
            for combination in combinations
        ]
        for cross, combinations in kept.items()
    }


def listed(
    splits: Iterable[SplitSlices], counts: Mapping[str, int]
) -> tuple[tuple[Slice, ...], tuple[Remark, ...]]:
    """Returns the slices that have examples, and remarks about equal names.

    Args:
        splits: Slices of each split.
        counts: Number of examples by name.
    """
    slices, remarks = [], []
    names: set[str] = set()
    of_splits = itertools.chain.from_iterable(split.slices() for split in splits)
    for predicate, origin, evidence in of_splits:
        name = slice_name(predicate)
        if name in names:
            remarks.append(Remark(name, "two different slices have this name"))
        elif counts.get(name):
            slices.append(Slice(name, predicate, origin, counts[name], evidence))
        names.add(name)
    return tuple(slices), tuple(remarks)
