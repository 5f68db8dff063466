"""Generation of annotated examples, of the list of their slices, and of the drift report."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam

from tfx_feeder.components.slice_gen.clusters import COLUMN, Clusters, find_clusters
from tfx_feeder.components.slice_gen.comparison import Comparer, DataSet
from tfx_feeder.components.slice_gen.cross_counts import count_crosses
from tfx_feeder.components.slice_gen.encoders import Encoder
from tfx_feeder.components.slice_gen.inputs import Inputs
from tfx_feeder.components.slice_gen.options import SliceGenOptions
from tfx_feeder.components.slice_gen.passes import (
    COUNTS,
    NO_IMAGE,
    Annotate,
    read,
)
from tfx_feeder.components.slice_gen.plan import SlicePlan, make_plan
from tfx_feeder.components.slice_gen.scratch import Scratch
from tfx_feeder.components.slice_gen.serving_skew import SkewFinder
from tfx_feeder.components.slice_gen.split_slices import SplitSlices, listed
from tfx_feeder.components.slice_gen.weak_slices import WeakSliceFinder
from tfx_feeder.schemas.drift_report import DriftReport
from tfx_feeder.schemas.slices import (
    DRIFT,
    EVAL,
    PROPOSED,
    SERVING_SKEW,
    SPLIT,
    Evidence,
    Predicate,
    Remark,
    Slices,
    slice_name,
)


@dataclass(frozen=True, slots=True)
class Generated:
    """Outcome of the generation, beside the annotated examples.

    Args:
        slices: Slices of the examples.
        reports: Comparisons of distributions.
        strips: PNG image with examples of a slice, by name.
    """

    slices: Slices
    reports: tuple[DriftReport, ...] = ()
    strips: Mapping[str, bytes] = field(default_factory=dict)


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
    the combinations of crosses, and to annotate. A pass without purpose is left out. A serving log
    is read once.

    Args:
        make_pipeline: Creates a Beam pipeline.
        inputs: Examples, statistics, model and serving log.
        options: Declared slices, search and comparisons.
        outputs: Prefix of the files of annotated examples by split: ``eval``, and ``drift`` and
            ``serving_skew`` if they are to be written.
        temporary: Folder for what one pass hands to the next; removed at the end.

    Raises:
        ConfigError: An option names a feature that is not in the schema.
        DataError: The examples, the serving log or the labels cannot be read.
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
        self._remarks = list(plan.remarks)
        self._reports: list[DriftReport] = []
        self._comparer = Comparer(make_pipeline, options, scratch)

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
        encoders = {**self._plan.encoders, **weak.properties}
        crosses = list(self._usable_crosses(encoders))
        counted = count_crosses(
            self._make_pipeline,
            self._inputs.examples,
            crosses,
            encoders,
            image_feature=self._options.image_feature,
            most=self._options.max_values,
            scratch=self._scratch,
        )
        self._remarks += counted.remarks
        drifted = self._drifted(encoders)
        clusters = self._clusters()
        self._remarks += clusters.remarks
        if len(clusters.centers):
            encoders[COLUMN] = clusters.encoder
            crosses.append((COLUMN,))
        found = {PROPOSED: weak.proposals.evidence, DRIFT: drifted}
        current = SplitSlices(EVAL, encoders, crosses, counted.kept, found, named=False)
        of_drift = SplitSlices(DRIFT, encoders, found={DRIFT: drifted}, only_named=True)
        splits = [split for split in (current, of_drift) if split.split in outputs]
        counts = self._annotated(splits, outputs, _assigned(self._read, clusters), EVAL)
        if SERVING_SKEW in outputs and self._inputs.served is not None:
            skew = SkewFinder(
                self._make_pipeline, self._inputs.served, self._options, self._scratch
            ).find(current, self._read, self._inputs.statistics.examples)
            self._remarks += skew.remarks
            self._reports += skew.reports
            splits.append(skew.slices)
            read_log = _assigned(skew.read, clusters)
            counts += self._annotated([skew.slices], outputs, read_log, SERVING_SKEW)
        totals = {split: counts[slice_name([(SPLIT, split)])] for split in outputs}
        # Without drift, its split is meant to be empty.
        self._remarks += [
            Remark(f"{SPLIT} {split}", "it has no examples")
            for split, count in totals.items()
            if not count and split != DRIFT
        ]
        if undecoded := counts[NO_IMAGE]:
            self._remarks.append(Remark(str(self._options.image_feature), NO_IMAGE, undecoded))
        slices, remarks = listed(splits, counts)
        return Generated(
            Slices(slices, totals, weak.proposals.search, (*self._remarks, *remarks)),
            tuple(self._reports),
            {slice_name([(COLUMN, str(n))]): strip for n, strip in clusters.strips.items()},
        )

    def _drifted(self, encoders: dict[str, Encoder]) -> Mapping[Predicate, Evidence]:
        """Compares the distributions and returns the slices that carry the difference."""
        if self._inputs.compared is None:
            return {}
        current, baseline = self._inputs.compared
        earlier = self._inputs.baseline_examples
        compared = self._comparer.compare(
            DRIFT,
            DataSet(current, self._read, self._inputs.statistics.examples),
            DataSet(
                baseline,
                (lambda pipeline: read(pipeline, earlier)) if earlier else None,
                (self._inputs.baseline or baseline).examples,
            ),
            encoders,
        )
        encoders |= compared.properties
        self._reports.append(compared.report)
        return compared.carriers

    def _clusters(self) -> Clusters:
        """Clusters the examples as the model sees them."""
        options, loss, model = self._options.clusters, self._options.loss, self._inputs.model
        if options is None or model is None:
            return Clusters()
        if COLUMN in self._inputs.features:
            hidden = "a feature of this name hides the clusters of the embedding"
            return Clusters(remarks=(Remark(COLUMN, hidden),))
        return find_clusters(
            self._make_pipeline,
            self._read,
            self._inputs.statistics.examples,
            options,
            model=model,
            signature=loss.signature if loss else "serving_default",
            image_feature=self._options.image_feature,
            scratch=self._scratch,
        )

    def _read(self, pipeline: beam.Pipeline) -> beam.PCollection:
        return read(pipeline, self._inputs.examples)

    def _usable_crosses(self, encoders: Mapping[str, Encoder]) -> Iterator[tuple[str, ...]]:
        for cross in self._plan.crosses:
            without = [name for name in cross if name not in encoders]
            self._remarks += [Remark(name, "all images have the same value") for name in without]
            if not without:
                yield cross

    def _annotated(
        self,
        splits: Sequence[SplitSlices],
        outputs: Mapping[str, str],
        read_examples: Callable[[beam.Pipeline], beam.PCollection],
        name: str,
    ) -> Counter[str]:
        """Writes the splits that are made of the same examples; returns counts by slice."""
        columns = set[str]().union(*(split.columns for split in splits))
        encoders = {n: e for split in splits for n, e in split.encoders.items() if n in columns}
        measured = columns.intersection(self._plan.properties)
        annotate = Annotate(
            encoders,
            self._options.image_feature if measured else None,
            [split.names for split in splits],
        )
        main, *others = (split.split for split in splits)
        with self._make_pipeline() as pipeline:
            found: Any = read_examples(pipeline) | "Annotate" >> beam.ParDo(annotate).with_outputs(
                COUNTS, *others, main=main
            )
            for split in (main, *others):
                _ = found[split] | f"Write[{split}]" >> beam.io.WriteToTFRecord(
                    outputs[split], file_name_suffix=".gz"
                )
            self._scratch.write_counts(found[COUNTS], f"counts_{name}")
        return self._scratch.read_counts(f"counts_{name}")


def _assigned(
    read_examples: Callable[[beam.Pipeline], beam.PCollection], clusters: Clusters
) -> Callable[[beam.Pipeline], beam.PCollection]:
    """Returns a function that reads the examples with their clusters, if there are any."""
    if not len(clusters.centers):
        return read_examples
    return lambda pipeline: clusters.assign(read_examples(pipeline))
