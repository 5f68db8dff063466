"""Examples as rows of numbers, in which a classifier looks for a difference between data sets."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfx_feeder.components.slice_gen.annotate import feature_values
from tfx_feeder.components.slice_gen.image_properties import PROPERTIES, luma, measure
from tfx_feeder.schemas.statistics import Bucket, FeatureStatistics, SplitStatistics

_MOST_VALUES = 10
"""Values of a category that have a column each."""
_SIDE = 8
"""Rows and columns of the image that a classifier sees."""
_BUCKETS = 10


@dataclass(frozen=True, slots=True)
class FeatureTable:
    """Function from an example to a row of numbers.

    Args:
        numbers: Features with a number.
        categories: Values with a column each, by feature.
        image_feature: Feature with an encoded image, which becomes its properties and 8 x 8 pixels.
    """

    numbers: tuple[str, ...] = ()
    categories: tuple[tuple[str, tuple[int | bytes, ...]], ...] = ()
    image_feature: str | None = None

    @property
    def columns(self) -> int:
        """Number of columns."""
        of_image = len(PROPERTIES) + _SIDE * _SIDE if self.image_feature else 0
        return len(self.numbers) + sum(len(values) for _, values in self.categories) + of_image

    def __call__(self, example: Any) -> np.ndarray:
        """Returns the row of an example, float32 ``[columns]``, NaN for what it lacks.

        Args:
            example: ``tf.train.Example``.
        """
        features = example.features.feature
        row: list[float] = []
        for name in self.numbers:
            values = feature_values(features, name)
            row.append(float(values[0]) if values and not isinstance(values[0], bytes) else np.nan)
        for name, values in self.categories:
            found = set(feature_values(features, name))
            row += [float(value in found) for value in values]
        if not self.image_feature:
            return np.array(row, np.float32)
        images = feature_values(features, self.image_feature)
        return np.concatenate([np.array(row), _image_row(images)]).astype(np.float32)

    def properties(self, table: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the properties of the images of a table, ``[examples]`` by name.

        Args:
            table: Rows of examples, ``[examples, columns]``.
        """
        if not self.image_feature:
            return {}
        first = self.columns - len(PROPERTIES) - _SIDE * _SIDE
        return {name: table[:, first + n] for n, name in enumerate(PROPERTIES)}


def feature_table(
    statistics: Sequence[SplitStatistics], excluded: Collection[str], image_feature: str | None
) -> FeatureTable:
    """Returns the columns of the features that all data sets have with values of the same kind.

    Args:
        statistics: Statistics of each data set.
        excluded: Names of features that are left out.
        image_feature: Feature with an encoded image, if any.
    """
    first, *others = statistics
    numbers, categories = [], []
    for feature in first.features:
        sides = [feature, *(side.feature(feature.name) for side in others)]
        if feature.name in excluded or any(
            side is None or not side.present or side.kind != feature.kind for side in sides
        ):
            continue
        if feature.kind == "number":
            numbers.append(feature.name)
        elif feature.kind == "category":
            categories.append((feature.name, _values(sides)))
    return FeatureTable(tuple(numbers), tuple(categories), image_feature)


def _values(sides: Sequence[FeatureStatistics | None]) -> tuple[int | bytes, ...]:
    found: dict[int | bytes, None] = {}
    for side in sides:
        for label, _ in side.fractions[:_MOST_VALUES] if side else ():
            found[int(label) if side and side.integer else label.encode()] = None
    return tuple(found)


def _image_row(images: Sequence[Any]) -> np.ndarray:
    empty = np.full(len(PROPERTIES) + _SIDE * _SIDE, np.nan)
    if not images or not isinstance(images[0], bytes):
        return empty
    try:
        pixels = tf.io.decode_image(images[0], expand_animations=False).numpy()
    except tf.errors.OpError:
        return empty
    if not pixels.size:
        return empty
    return np.concatenate([measure(pixels), downsampled(luma(pixels), _SIDE).ravel()])


def downsampled(gray: np.ndarray, side: int) -> np.ndarray:
    """Returns the means of equal parts of an image, ``[side, side]``.

    Args:
        gray: Image ``[height, width]``; pixels of one that is smaller are repeated.
        side: Number of rows and columns of the result.
    """
    for axis, size in enumerate(gray.shape):
        starts = np.arange(side) * size // side
        if size < side:
            gray = np.take(gray, starts, axis=axis)
        else:
            lengths = np.diff([*starts, size])
            shape = (-1, 1) if axis == 0 else (1, -1)
            gray = np.add.reduceat(gray, starts, axis=axis) / lengths.reshape(shape)
    return gray


def with_properties(
    statistics: SplitStatistics, properties: Mapping[str, np.ndarray]
) -> SplitStatistics:
    """Adds the properties of images, measured on a sample, to the statistics of a data set.

    Args:
        statistics: Statistics of all examples.
        properties: Values of each property, ``[examples]``; NaN where it is missing.
    """
    hidden = {feature.name for feature in statistics.features}
    more = tuple(
        _number_statistics(name, values, statistics.examples)
        for name, values in properties.items()
        if name not in hidden and np.isfinite(values).any()
    )
    return SplitStatistics(statistics.split, statistics.examples, (*statistics.features, *more))


def _number_statistics(name: str, values: np.ndarray, examples: int) -> FeatureStatistics:
    found = np.sort(values[np.isfinite(values)].astype(float))
    edges = np.linspace(found[0], found[-1], _BUCKETS + 1)
    if found[0] == found[-1]:
        edges = edges[:2]
    counts = np.histogram(found, edges)[0] if len(edges) > 2 else [len(found)]
    present = round(examples * len(found) / len(values))
    return FeatureStatistics(
        name,
        "number",
        100 * (1 - present / examples) if examples else 0.0,
        minimum=float(found[0]),
        maximum=float(found[-1]),
        buckets=tuple(
            Bucket(float(low), float(high), float(count / len(found)))
            for low, high, count in zip(edges, edges[1:], counts, strict=False)
        ),
        quantiles=tuple(
            np.quantile(found, np.linspace(0, 1, _BUCKETS + 1), method="inverted_cdf").tolist()
        ),
        integer=bool(np.equal(found, np.rint(found)).all()),
        present=present,
        # The number of independent values is that of the sample.
        values=len(found),
        counted=float(len(found)),
        zeros=int((found == 0).sum()),
    )
