"""Generation of annotated examples and of the list of their slices."""

import itertools
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf

from tfx_feeder.common.errors import DataError
from tfx_feeder.components.slice_gen.annotate import Conditions, SliceNamer, predicate_of
from tfx_feeder.components.slice_gen.code_table import CodeTable
from tfx_feeder.components.slice_gen.encoders import Encoder, IntervalEncoder, interval_encoder
from tfx_feeder.components.slice_gen.image_properties import PROPERTIES
from tfx_feeder.components.slice_gen.model_loss import ModelLoss
from tfx_feeder.components.slice_gen.options import LossOptions, SliceGenOptions
from tfx_feeder.components.slice_gen.passes import (
    COUNTS,
    NO_IMAGE,
    Annotate,
    CountCombinations,
    Measure,
    MeasurementPlan,
)
from tfx_feeder.components.slice_gen.plan import SlicePlan, make_plan, with_kind
from tfx_feeder.components.slice_gen.propose import Proposals, propose
from tfx_feeder.components.slice_gen.scratch import Scratch
from tfx_feeder.schemas.slices import (
    DECLARED,
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
_QUANTILES = 101
_BATCH = 256

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
    """

    examples: tuple[str, ...]
    statistics: SplitStatistics
    features: tuple[str, ...]
    baseline: SplitStatistics | None = None
    model: str | None = None


def generate(
    make_pipeline: Callable[[], beam.Pipeline],
    inputs: Inputs,
    options: SliceGenOptions,
    *,
    output: str,
    temporary: str,
) -> Slices:
    """Annotates the examples and returns their slices.

    The examples are read up to three times: to measure images and the loss of the model, to count
    the combinations of crosses, and to annotate. A pass without purpose is left out.

    Args:
        make_pipeline: Creates a Beam pipeline.
        inputs: Examples, statistics and model.
        options: Declared slices and search.
        output: Prefix of the files of annotated examples.
        temporary: Folder for what one pass hands to the next; removed at the end.

    Raises:
        ConfigError: An option names a feature that is not in the schema.
        DataError: The examples cannot be read.
    """
    plan = make_plan(inputs.statistics, inputs.features, options, inputs.baseline)
    scratch = Scratch(temporary)
    try:
        return _Generation(make_pipeline, inputs, options, plan, scratch).run(output)
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

    def run(self, output: str) -> Slices:
        proposals = self._proposals()
        crosses = list(self._usable_crosses())
        kept = self._kept_combinations([cross for cross in crosses if len(cross) > 1])
        proposed = {predicate: self._conditions(predicate) for predicate in proposals.evidence}
        namer = SliceNamer(self._encoders, crosses, kept, list(proposed.values()))
        counts = self._annotated(crosses, proposed.values(), namer, output)
        total = counts.pop(slice_name([(SPLIT, EVAL)]), 0)
        if not total:
            self._remarks.append(Remark(f"{SPLIT} {EVAL}", "it has no examples"))
        if undecoded := counts.pop(NO_IMAGE, 0):
            self._remarks.append(Remark(str(self._options.image_feature), NO_IMAGE, undecoded))
        slices = list(self._listed(self._declared(crosses, kept), proposals.evidence, counts))
        if total:
            slices.insert(0, Slice(f"{SPLIT} {EVAL}", ((SPLIT, EVAL),), SPLIT, total))
        return Slices(tuple(slices), {EVAL: total}, proposals.search, tuple(self._remarks))

    def _proposals(self) -> Proposals:
        """Measures images and losses, makes the encoders of properties, and searches."""
        loss = self._usable_loss()
        searched = loss is not None
        with_images = bool(self._plan.properties) and (searched or self._plan.declared_properties)
        if not searched and not with_images:
            return Proposals({})
        table = self._measured(loss, with_images)
        if table is None:
            return Proposals({})
        properties = self._property_encoders(table) if with_images else {}
        self._encoders |= {encoder.name: encoder for encoder in properties.values()}
        if loss is None:
            return Proposals({})
        if self._options.columns is not None:
            properties = {
                position: encoder
                for position, encoder in properties.items()
                if encoder.name in self._options.columns
            }
        found = propose(
            table,
            self._plan.columns,
            properties,
            self._options,
            kind=loss.kind,
            model=self._inputs.model or "",
        )
        self._remarks += found.remarks
        return found

    def _usable_crosses(self) -> Iterator[tuple[str, ...]]:
        for cross in self._plan.crosses:
            without = [name for name in cross if name not in self._encoders]
            self._remarks += [Remark(name, "all images have the same value") for name in without]
            if not without:
                yield cross

    def _usable_loss(self) -> LossOptions | None:
        if self._inputs.model is None or self._options.loss is None:
            return None
        loss = with_kind(self._options.loss, self._inputs.statistics)
        try:
            ModelLoss(self._inputs.model, loss)
        except (DataError, OSError, ValueError, tf.errors.OpError) as error:
            self._remarks.append(Remark("model", f"no slices are proposed: {error}"))
            return None
        return loss

    def _measured(self, loss: LossOptions | None, with_images: bool) -> CodeTable | None:
        examples = self._inputs.statistics.examples
        measurements = MeasurementPlan(
            encoders=self._plan.encoders,
            columns=self._plan.columns if loss else (),
            image_feature=self._options.image_feature if with_images else None,
            model=self._inputs.model if loss else None,
            loss=loss,
            fraction=min(1.0, self._options.max_searched / max(examples, 1)),
        )
        size = loss.batch_size if loss else _BATCH
        with self._make_pipeline() as pipeline:
            tables: Any = (
                self._read(pipeline)
                | "Batch" >> beam.BatchElements(min_batch_size=size, max_batch_size=size)
                | "Measure" >> beam.ParDo(Measure(measurements)).with_outputs(COUNTS, main="tables")
            )
            _ = tables["tables"] | "WriteTables" >> beam.io.WriteToTFRecord(
                self._scratch.path("tables")
            )
            self._scratch.write_counts(tables[COUNTS], "reasons")
        for reason, count in sorted(self._scratch.read_counts("reasons").items()):
            self._remarks.append(Remark("loss", reason, count))
        return CodeTable.load(self._scratch.read_records("tables"))

    def _property_encoders(self, table: CodeTable) -> dict[int, IntervalEncoder]:
        """Returns the encoders of properties by position; properties without variety have none."""
        encoders = {}
        for name in self._plan.properties:
            position = PROPERTIES.index(name)
            if name in self._options.boundaries:
                encoders[position] = IntervalEncoder(name, self._options.boundaries[name])
                continue
            values = table.properties[:, position]
            values = values[np.isfinite(values)]
            if not len(values):
                continue
            quantiles = np.quantile(values, np.linspace(0, 1, _QUANTILES)).tolist()
            if encoder := interval_encoder(name, quantiles, self._options.intervals):
                encoders[position] = encoder
        return encoders

    def _kept_combinations(self, crosses: Sequence[tuple[str, ...]]) -> _Kept:
        """Returns the most frequent combinations of crosses that may have too many of them."""
        most = self._options.max_values
        large = [cross for cross in crosses if self._cells(cross) > most]
        if not large:
            return {}
        with self._make_pipeline() as pipeline:
            outputs: Any = self._read(pipeline) | "Count" >> beam.ParDo(
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
        crosses: Sequence[tuple[str, ...]],
        proposed: Iterable[Conditions],
        namer: SliceNamer,
        output: str,
    ) -> Counter[str]:
        columns = [*crosses, *(tuple(column for column, _ in found) for found in proposed)]
        encoders, image_feature = self._encoding(columns)
        with self._make_pipeline() as pipeline:
            outputs: Any = self._read(pipeline) | "Annotate" >> beam.ParDo(
                Annotate(encoders, image_feature, namer, EVAL)
            ).with_outputs(COUNTS, main="examples")
            _ = outputs["examples"] | "WriteExamples" >> beam.io.WriteToTFRecord(
                output, file_name_suffix=".gz"
            )
            self._scratch.write_counts(outputs[COUNTS], "counts")
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
        declared: Iterable[Predicate],
        evidence: Mapping[Predicate, Evidence],
        counts: Mapping[str, int],
    ) -> Iterator[Slice]:
        """Yields the slices that have examples; a proposed slice may be declared as well."""
        predicates = dict.fromkeys(declared, DECLARED) | {
            predicate: PROPOSED for predicate in evidence if predicate not in set(declared)
        }
        names: set[str] = set()
        for predicate, origin in predicates.items():
            name = slice_name(predicate)
            if name in names:
                self._remarks.append(Remark(name, "two different slices have this name"))
            elif counts.get(name):
                yield Slice(name, predicate, origin, counts[name], evidence.get(predicate))
            names.add(name)

    def _read(self, pipeline: beam.Pipeline) -> beam.PCollection:
        splits = [
            pipeline | f"Read{number}" >> beam.io.ReadFromTFRecord(os.path.join(folder, "*"))
            for number, folder in enumerate(self._inputs.examples)
        ]
        return splits | "Flatten" >> beam.Flatten()


def _by_cross(
    key: tuple[int, tuple[int, ...]], count: int
) -> tuple[int, tuple[int, tuple[int, ...]]]:
    position, combination = key
    return position, (count, combination)
