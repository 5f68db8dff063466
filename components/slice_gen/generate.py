"""Generation of annotated examples, of the list of their slices, and of the drift report."""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam

from tfx_feeder.components.slice_gen.annotate import (
    Conditions,
    SliceNamer,
    in_split,
    predicate_of,
)
from tfx_feeder.components.slice_gen.carriers import carriers
from tfx_feeder.components.slice_gen.drift import compare_statistics
from tfx_feeder.components.slice_gen.encoders import Encoder
from tfx_feeder.components.slice_gen.options import SliceGenOptions
from tfx_feeder.components.slice_gen.passes import (
    COUNTS,
    NO_IMAGE,
    Annotate,
    CountCombinations,
    SplitNames,
    read,
)
from tfx_feeder.components.slice_gen.plan import SlicePlan, make_plan
from tfx_feeder.components.slice_gen.scratch import Scratch
from tfx_feeder.components.slice_gen.weak_slices import WeakSliceFinder
from tfx_feeder.schemas.drift_report import DriftReport
from tfx_feeder.schemas.slices import (
    DECLARED,
    DRIFT,
    PROPOSED,
    SPLIT,
    Evidence,
    Predicate,
    Remark,
    Slice,
    Slices,
    slice_name,
)
from tfx_feeder.schemas.statistics import SplitStatistics

EVAL = "eval"
"""Split of the annotated examples."""

_Kept = dict[tuple[str, ...], list[tuple[int, ...]]]


@dataclass(frozen=True, slots=True)
class Inputs:
    """Data that slices are made of.

    Args:
        examples: Folders of the splits, with TFRecord files of Examples.
        statistics: Statistics of the examples.
        features: Names of all features in the schema.
        baseline: Statistics whose quantiles cut numbers into intervals, if any.
        model: Folder of the model whose weak slices are proposed, if any.
        compared: Statistics of the current and of the earlier data whose distributions are
            compared, if any.
    """

    examples: tuple[str, ...]
    statistics: SplitStatistics
    features: tuple[str, ...]
    baseline: SplitStatistics | None = None
    model: str | None = None
    compared: tuple[SplitStatistics, SplitStatistics] | None = None


@dataclass(frozen=True, slots=True)
class Generated:
    """Outcome of the generation, beside the annotated examples.

    Args:
        slices: Slices of the examples.
        reports: Comparisons of distributions.
    """

    slices: Slices
    reports: tuple[DriftReport, ...] = ()


def generate(
    make_pipeline: Callable[[], beam.Pipeline],
    inputs: Inputs,
    options: SliceGenOptions,
    *,
    outputs: Mapping[str, str],
    temporary: str,
) -> Generated:
    """Annotates the examples and returns their slices.

    The examples are read up to three times: to measure images and the loss of the model, to count
    the combinations of crosses, and to annotate. A pass without purpose is left out.

    Args:
        make_pipeline: Creates a Beam pipeline.
        inputs: Examples, statistics and model.
        options: Declared slices and search.
        outputs: Prefix of the files of annotated examples by split: ``eval``, and ``drift`` if it
            is to be written.
        temporary: Folder for what one pass hands to the next; removed at the end.

    Raises:
        ConfigError: An option names a feature that is not in the schema.
        DataError: The examples cannot be read.
    """
    plan = make_plan(inputs.statistics, inputs.features, options, inputs.baseline)
    scratch = Scratch(temporary)
    try:
        return _Generation(make_pipeline, inputs, options, plan, scratch).run(outputs)
    finally:
        scratch.remove()


class _Generation:
    def __init__(
        self,
        make_pipeline: Callable[[], beam.Pipeline],
        inputs: Inputs,
        options: SliceGenOptions,
        plan: SlicePlan,
        scratch: Scratch,
    ) -> None:
        self._make_pipeline = make_pipeline
        self._inputs = inputs
        self._options = options
        self._plan = plan
        self._scratch = scratch
        self._encoders: dict[str, Encoder] = dict(plan.encoders)
        self._remarks = list(plan.remarks)
        self._reports: list[DriftReport] = []

    def run(self, outputs: Mapping[str, str]) -> Generated:
        weak = WeakSliceFinder(
            self._make_pipeline,
            folders=self._inputs.examples,
            statistics=self._inputs.statistics,
            model=self._inputs.model,
            options=self._options,
            plan=self._plan,
            scratch=self._scratch,
        ).find()
        self._remarks += weak.remarks
        self._encoders |= weak.properties
        proposed, drifted = weak.proposals.evidence, self._drifted()
        crosses = list(self._usable_crosses())
        kept = self._kept_combinations([cross for cross in crosses if len(cross) > 1])
        conditions = {p: self._conditions(p) for p in (*proposed, *drifted)}
        of_drift = [conditions[predicate] for predicate in drifted]
        splits = [
            SplitNames(EVAL, SliceNamer(self._encoders, crosses, kept, list(conditions.values()))),
            SplitNames(
                DRIFT, SliceNamer(self._encoders, conditions=of_drift, split=DRIFT), only_named=True
            ),
        ]
        columns = [*crosses, *(tuple(c for c, _ in found) for found in conditions.values())]
        splits = [of_split for of_split in splits if of_split.split in outputs]
        counts = self._annotated(columns, splits, outputs)
        totals = {split: counts.get(slice_name([(SPLIT, split)]), 0) for split in outputs}
        if not totals[EVAL]:
            self._remarks.append(Remark(f"{SPLIT} {EVAL}", "it has no examples"))
        if undecoded := counts.pop(NO_IMAGE, 0):
            self._remarks.append(Remark(str(self._options.image_feature), NO_IMAGE, undecoded))
        origins: dict[Predicate, str] = {((SPLIT, split),): SPLIT for split in outputs}
        evidence = {**drifted, **proposed}
        for predicate in drifted:
            evidence[in_split(predicate, DRIFT)] = drifted[predicate]
        for origin, predicates in (
            (DECLARED, self._declared(crosses, kept)),
            (PROPOSED, proposed),
            (DRIFT, drifted),
            (DRIFT, [in_split(predicate, DRIFT) for predicate in drifted]),
        ):
            for predicate in predicates:
                origins.setdefault(predicate, origin)
        slices = tuple(self._listed(origins, evidence, counts))
        return Generated(
            Slices(slices, totals, weak.proposals.search, tuple(self._remarks)),
            tuple(self._reports),
        )

    def _drifted(self) -> dict[Predicate, Evidence]:
        """Compares the distributions and returns the slices that carry the difference."""
        if self._inputs.compared is None:
            return {}
        current, baseline = self._inputs.compared
        report = compare_statistics(current, baseline, self._options.drift)
        self._reports.append(report)
        return carriers(report, current, baseline, self._encoders)

    def _usable_crosses(self) -> Iterator[tuple[str, ...]]:
        for cross in self._plan.crosses:
            without = [name for name in cross if name not in self._encoders]
            self._remarks += [Remark(name, "all images have the same value") for name in without]
            if not without:
                yield cross

    def _kept_combinations(self, crosses: Sequence[tuple[str, ...]]) -> _Kept:
        """Returns the most frequent combinations of crosses that may have too many of them."""
        most = self._options.max_values
        large = [cross for cross in crosses if self._cells(cross) > most]
        if not large:
            return {}
        with self._make_pipeline() as pipeline:
            outputs: Any = read(pipeline, self._inputs.examples) | "Count" >> beam.ParDo(
                CountCombinations(*self._encoding(large), large)
            ).with_outputs(COUNTS, main="none")
            counted = outputs[COUNTS] | "Sum" >> beam.CombinePerKey(sum)
            by_cross = counted | "ByCross" >> beam.MapTuple(_by_cross)
            top = by_cross | "Top" >> beam.combiners.Top.LargestPerKey(most)
            number = by_cross | "Number" >> beam.combiners.Count.PerKey()
            self._scratch.write_json(top, "top")
            self._scratch.write_json(number, "number")
        numbers = dict(self._scratch.read_json("number"))
        kept: _Kept = {}
        for position, best in self._scratch.read_json("top"):
            cross = large[position]
            kept[cross] = [tuple(combination) for _, combination in best]
            if (left := numbers[position] - len(best)) > 0:
                reason = f"combinations beyond the {most} most frequent ones are no slices"
                self._remarks.append(Remark(" x ".join(cross), reason, left))
        return {cross: kept.get(cross, []) for cross in large}

    def _annotated(
        self,
        columns: Iterable[tuple[str, ...]],
        splits: Sequence[SplitNames],
        outputs: Mapping[str, str],
    ) -> Counter[str]:
        encoders, image_feature = self._encoding(columns)
        main, *others = (of_split.split for of_split in splits)
        with self._make_pipeline() as pipeline:
            found: Any = read(pipeline, self._inputs.examples) | "Annotate" >> beam.ParDo(
                Annotate(encoders, image_feature, splits)
            ).with_outputs(COUNTS, *others, main=main)
            for split in (main, *others):
                _ = found[split] | f"Write[{split}]" >> beam.io.WriteToTFRecord(
                    outputs[split], file_name_suffix=".gz"
                )
            self._scratch.write_counts(found[COUNTS], "counts")
        return self._scratch.read_counts("counts")

    def _encoding(
        self, columns: Iterable[tuple[str, ...]]
    ) -> tuple[dict[str, Encoder], str | None]:
        """Returns the encoders of columns, and the image if one of them is measured."""
        names = {name for of_slice in columns for name in of_slice}
        encoders = {name: encoder for name, encoder in self._encoders.items() if name in names}
        measured = names.intersection(self._plan.properties)
        return encoders, self._options.image_feature if measured else None

    def _cells(self, cross: tuple[str, ...]) -> int:
        return math.prod(len(self._encoders[name].values) for name in cross)

    def _conditions(self, predicate: Predicate) -> Conditions:
        return tuple(
            (column, self._encoders[column].values.index(value) + 1) for column, value in predicate
        )

    def _declared(self, crosses: Sequence[tuple[str, ...]], kept: _Kept) -> list[Predicate]:
        predicates = []
        for cross in crosses:
            sizes = (range(1, len(self._encoders[name].values) + 1) for name in cross)
            for combination in kept[cross] if cross in kept else itertools.product(*sizes):
                conditions = tuple(zip(cross, combination, strict=True))
                predicates.append(predicate_of(conditions, self._encoders))
        return predicates

    def _listed(
        self,
        origins: Mapping[Predicate, str],
        evidence: Mapping[Predicate, Evidence],
        counts: Mapping[str, int],
    ) -> Iterator[Slice]:
        """Yields the slices that have examples."""
        names: set[str] = set()
        for predicate, origin in origins.items():
            name = slice_name(predicate)
            if name in names:
                self._remarks.append(Remark(name, "two different slices have this name"))
            elif counts.get(name):
                yield Slice(name, predicate, origin, counts[name], evidence.get(predicate))
            names.add(name)


def _by_cross(
    key: tuple[int, tuple[int, ...]], count: int
) -> tuple[int, tuple[int, tuple[int, ...]]]:
    position, combination = key
    return position, (count, combination)
