"""Beam passes over the examples: measurement for the search, counts of crosses, annotation."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from tfx_feeder.components.slice_gen.annotate import (
    ExampleEncoder,
    SliceNamer,
    annotated,
    combinations,
    feature_values,
    parse,
)
from tfx_feeder.components.slice_gen.code_table import CodeTable, SearchColumn
from tfx_feeder.components.slice_gen.encoders import Encoder
from tfx_feeder.components.slice_gen.image_properties import PROPERTIES, image_properties
from tfx_feeder.components.slice_gen.model_loss import ModelLoss
from tfx_feeder.components.slice_gen.options import LossOptions
from tfx_feeder.schemas.slices import SPLIT, slice_name

COUNTS = "counts"
"""Tag of the output with counts, as pairs of a key and a number."""
NO_IMAGE = "the image cannot be decoded"
ALL_HASHES = 1 << 64
"""Number of values of ``hash_of``."""


class CountingDoFn(beam.DoFn):
    """Function that counts; the counts of a bundle are one output each, not one an example."""

    def start_bundle(self) -> None:
        """Starts to count."""
        self._counts: Counter[Any] = Counter()

    def finish_bundle(self) -> Iterator[beam.pvalue.TaggedOutput]:
        """Yields the counts."""
        window = GlobalWindow()
        for pair in self._counts.items():
            value = WindowedValue(pair, window.max_timestamp(), [window])
            yield beam.pvalue.TaggedOutput(COUNTS, value)


@dataclass(frozen=True, slots=True)
class MeasurementPlan:
    """Measurements of each example.

    Args:
        encoders: Encoders of the features, without properties of images.
        columns: Columns of codes that are searched.
        image_feature: Feature with an encoded image, if its properties are measured.
        model: Folder of the model, if its loss is measured.
        loss: Label and loss; not ``auto``.
        fraction: Fraction of the examples that are measured.
    """

    encoders: Mapping[str, Encoder]
    columns: tuple[SearchColumn, ...]
    image_feature: str | None
    model: str | None
    loss: LossOptions | None
    fraction: float = 1.0


class Measure(CountingDoFn):
    """Converts batches of serialized Examples to packed ``CodeTable`` records.

    The counts are examples without a loss by reason.

    Args:
        plan: Measurements.
    """

    def __init__(self, plan: MeasurementPlan) -> None:
        self._plan = plan
        self._model: ModelLoss | None = None

    def setup(self) -> None:
        """Loads the model."""
        if self._plan.model and self._plan.loss:
            self._model = ModelLoss(self._plan.model, self._plan.loss)

    def process(self, batch: list[bytes]) -> Iterator[bytes]:
        """Measures a batch.

        Args:
            batch: Serialized Examples.
        """
        plan = self._plan
        limit = round(plan.fraction * ALL_HASHES)
        chosen = [
            (key, s) for key, s in zip(map(hash_of, batch), batch, strict=True) if key < limit
        ]
        if not chosen:
            return
        keys, serialized = zip(*chosen, strict=True)
        examples = [parse(s) for s in serialized]
        encode = ExampleEncoder(
            {column.name: plan.encoders[column.name] for column in plan.columns}
        )
        codes = np.zeros((len(examples), len(plan.columns)), np.uint16)
        for row, example in enumerate(examples):
            of_example, _ = encode(example)
            codes[row] = [column.code_of(of_example[column.name]) for column in plan.columns]
        yield CodeTable(
            np.array(keys, np.uint64),
            codes,
            _properties(examples, plan.image_feature),
            self._losses(serialized, examples),
        ).pack()

    def _losses(self, serialized: Sequence[bytes], examples: Sequence[Any]) -> np.ndarray:
        if self._model is None or self._plan.loss is None:
            return np.full(len(serialized), np.nan)
        label = self._plan.loss.label
        of_examples = (feature_values(e.features.feature, label) for e in examples)
        labels = [values[0] if values else None for values in of_examples]
        losses, reasons = self._model(serialized, labels)
        self._counts.update(reasons)
        return losses


class CountCombinations(CountingDoFn):
    """Counts the combinations of crosses; there is no other output.

    The keys of the counts are pairs of the position of a cross and a combination of codes.

    Args:
        encoders: Encoders by column.
        image_feature: Feature with an encoded image, if its properties are columns.
        crosses: Crosses of columns.
    """

    def __init__(
        self,
        encoders: Mapping[str, Encoder],
        image_feature: str | None,
        crosses: Sequence[tuple[str, ...]],
    ) -> None:
        self._crosses = crosses
        self._encode = ExampleEncoder(encoders, image_feature)

    def process(self, serialized: bytes) -> None:
        """Counts an example.

        Args:
            serialized: Serialized Example.
        """
        codes, _ = self._encode(parse(serialized))
        for position, cross in enumerate(self._crosses):
            self._counts.update((position, found) for found in combinations(cross, codes))


@dataclass(frozen=True, slots=True)
class SplitNames:
    """Names of slices in one split of the output.

    Args:
        split: Name of the split, which is a slice as well.
        namer: Function from codes to names.
        only_named: True if examples without any other slice are not in the split.
    """

    split: str
    namer: SliceNamer
    only_named: bool = False


class Annotate(CountingDoFn):
    """Adds the names of its slices to each serialized Example.

    The outputs are tagged by split, except for those of the first split. The keys of the counts are
    names of slices, and ``NO_IMAGE``.

    Args:
        encoders: Encoders by column.
        image_feature: Feature with an encoded image, if its properties are columns.
        splits: Splits of the output; an example may be in several.
    """

    def __init__(
        self,
        encoders: Mapping[str, Encoder],
        image_feature: str | None,
        splits: Sequence[SplitNames],
    ) -> None:
        self._encode = ExampleEncoder(encoders, image_feature)
        self._splits = splits
        # Features that an earlier step has added.
        self._added = [e.feature for e in encoders.values() if e.feature != e.name]

    def process(self, serialized: bytes) -> Iterator[bytes | beam.pvalue.TaggedOutput]:
        """Annotates an example.

        Args:
            serialized: Serialized Example.
        """
        example = parse(serialized)
        codes, decoded = self._encode(example)
        self._counts[NO_IMAGE] += not decoded
        for feature in self._added:
            example.features.feature.pop(feature, None)
        for position, of_split in enumerate(self._splits):
            found = of_split.namer(codes)
            if of_split.only_named and not found:
                continue
            names = list(dict.fromkeys([*found, slice_name([(SPLIT, of_split.split)])]))
            self._counts.update(names)
            value = annotated(example, names)
            yield beam.pvalue.TaggedOutput(of_split.split, value) if position else value


def read(pipeline: beam.Pipeline, folders: Sequence[str]) -> beam.PCollection:
    """Reads serialized Examples.

    Args:
        pipeline: Pipeline that reads.
        folders: Folders of TFRecord files.
    """
    splits = [
        pipeline | f"Read{number}" >> beam.io.ReadFromTFRecord(os.path.join(folder, "*"))
        for number, folder in enumerate(folders)
    ]
    return splits | "Flatten" >> beam.Flatten()


def read_files(pipeline: beam.Pipeline, prefix: str) -> beam.PCollection:
    """Reads the files that an earlier pass has written.

    Args:
        pipeline: Pipeline that reads.
        prefix: Prefix of the files.
    """
    return pipeline | "ReadFiles" >> beam.io.ReadFromTFRecord(f"{prefix}-*")


class Sample(beam.DoFn):
    """Selects examples by their content, so that the sample is the same in each run.

    Args:
        fraction: Fraction of the examples, 0 to 1.
    """

    def __init__(self, fraction: float) -> None:
        self._limit = round(fraction * ALL_HASHES)

    def process(self, serialized: bytes) -> Iterator[bytes]:
        """Yields the example if it is selected.

        Args:
            serialized: Serialized Example.
        """
        if hash_of(serialized) < self._limit:
            yield serialized


def hash_of(serialized: bytes) -> int:
    """Returns a number of 64 bits by which examples are sampled and sorted."""
    return int.from_bytes(hashlib.blake2b(serialized, digest_size=8).digest(), "big")


def _properties(examples: Sequence[Any], image_feature: str | None) -> np.ndarray:
    if image_feature is None:
        return np.empty((len(examples), 0))
    measured = np.full((len(examples), len(PROPERTIES)), np.nan)
    for row, example in enumerate(examples):
        values = feature_values(example.features.feature, image_feature)
        found = image_properties(values[0]) if values else None
        if found is not None:
            measured[row] = found
    return measured
