"""Annotation of examples with the names of their slices."""

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from tensorflow.core.example import example_pb2

from tfx_feeder.components.slice_gen.conjunctions import REST
from tfx_feeder.components.slice_gen.encoders import Encoder, Value
from tfx_feeder.components.slice_gen.image_properties import PROPERTIES, image_properties
from tfx_feeder.schemas.slices import SLICES_FEATURE, SPLIT, Predicate, slice_name

Codes = dict[str, tuple[int, ...]]
"""Codes of an example by column."""
Conditions = tuple[tuple[str, int], ...]
"""Columns and codes that all hold."""

_MOST_REMEMBERED = 100_000


def feature_values(features: Mapping[str, Any], name: str) -> Sequence[Value]:
    """Returns the values of a feature, none if it is missing.

    Args:
        features: ``features.feature`` of a ``tf.train.Example``.
        name: Name of the feature.
    """
    if name not in features:
        return ()
    feature = features[name]
    kind = feature.WhichOneof("kind")
    return getattr(feature, kind).value if kind else ()


class ExampleEncoder:
    """Encoder of the columns of an example.

    Args:
        encoders: Encoders of features and of properties of the image, by column.
        image_feature: Feature with an encoded image, if its properties are columns.
    """

    def __init__(self, encoders: Mapping[str, Encoder], image_feature: str | None = None) -> None:
        measured = PROPERTIES if image_feature else ()
        self._features = {n: encoder for n, encoder in encoders.items() if n not in measured}
        self._properties = {n: encoder for n, encoder in encoders.items() if n in measured}
        self._image_feature = image_feature

    def __call__(self, example: Any) -> tuple[Codes, bool]:
        """Encodes an example.

        Args:
            example: ``tf.train.Example``.

        Returns:
            Codes by column, and False if the image cannot be decoded.
        """
        features = example.features.feature
        codes = {
            name: encoder.codes(feature_values(features, encoder.feature))
            for name, encoder in self._features.items()
        }
        if not self._properties:
            return codes, True
        images = feature_values(features, self._image_feature or "")
        measured = image_properties(images[0]) if images else None
        for name, encoder in self._properties.items():
            values = () if measured is None else (measured[PROPERTIES.index(name)],)
            codes[name] = encoder.codes(values)
        return codes, measured is not None or not images


class SliceNamer:
    """Function from the codes of an example to the names of its slices.

    Args:
        encoders: Encoders by column.
        crosses: Declared features and crosses.
        kept: Combinations of codes that are slices, for crosses with too many of them.
        conditions: Slices of single combinations.
        split: Split that is part of each name; empty for none.
    """

    def __init__(
        self,
        encoders: Mapping[str, Encoder],
        crosses: Sequence[tuple[str, ...]] = (),
        kept: Mapping[tuple[str, ...], Collection[tuple[int, ...]]] | None = None,
        conditions: Sequence[Conditions] = (),
        split: str = "",
    ) -> None:
        self._encoders = encoders
        self._split = split
        self._crosses = crosses
        self._kept = {cross: frozenset(of_cross) for cross, of_cross in (kept or {}).items()}
        self._remembered: dict[tuple[tuple[str, ...], tuple[int, ...]], str] = {}
        self._conditions = [(self._named(single), single) for single in conditions]

    def __call__(self, codes: Codes) -> list[str]:
        """Returns the names of the slices, each once, sorted.

        Args:
            codes: Codes of an example.
        """
        names = {
            name
            for name, conditions in self._conditions
            if all(code in codes[column] for column, code in conditions)
        }
        for cross in self._crosses:
            kept = self._kept.get(cross)
            for combination in combinations(cross, codes):
                if kept is None or combination in kept:
                    names.add(self._name(cross, combination))
        return sorted(names)

    def _name(self, cross: tuple[str, ...], combination: tuple[int, ...]) -> str:
        name = self._remembered.get((cross, combination))
        if name is None:
            name = self._named(tuple(zip(cross, combination, strict=True)))
            if len(self._remembered) < _MOST_REMEMBERED:
                self._remembered[cross, combination] = name
        return name

    def _named(self, conditions: Conditions) -> str:
        return slice_name(in_split(predicate_of(conditions, self._encoders), self._split))


def combinations(cross: tuple[str, ...], codes: Codes) -> Iterator[tuple[int, ...]]:
    """Yields the combinations of codes of an example that may be slices.

    Args:
        cross: Columns.
        codes: Codes of the example.
    """
    for combination in itertools.product(*(codes[column] for column in cross)):
        if REST not in combination:
            yield combination


def predicate_of(conditions: Conditions, encoders: Mapping[str, Encoder]) -> Predicate:
    """Describes columns and codes in words.

    Args:
        conditions: Columns and codes.
        encoders: Encoders by column.
    """
    pairs = [(column, encoders[column].values[code - 1]) for column, code in conditions]
    return tuple(sorted(pairs))


def in_split(predicate: Predicate, split: str) -> Predicate:
    """Restricts a slice to a split.

    Args:
        predicate: Columns and values.
        split: Name of the split; empty for none.
    """
    return tuple(sorted((*predicate, (SPLIT, split)))) if split else predicate


def annotated(example: Any, names: Sequence[str]) -> bytes:
    """Serializes an example with the names of its slices.

    Args:
        example: ``tf.train.Example``; changed in place.
        names: Names of the slices.
    """
    feature = example.features.feature[SLICES_FEATURE]
    feature.Clear()
    feature.bytes_list.value.extend([name.encode(errors="replace") for name in names])
    return example.SerializeToString(deterministic=True)


def parse(serialized: bytes) -> Any:
    """Parses a ``tf.train.Example``."""
    return example_pb2.Example.FromString(serialized)
