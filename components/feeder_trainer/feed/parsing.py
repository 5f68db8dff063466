"""Parses serialized Examples into tensors, a whole batch at a time."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions, Image

PARSE_BATCH_SIZE = 1024
"""Records parsed together at most where the caller specifies no batch size."""

_STRING_BYTES = 24  # Overhead of TensorFlow per string.

Batch = tuple[dict[str, Any]] | tuple[dict[str, Any], Any] | tuple[dict[str, Any], Any, Any]
"""``(features,)``, ``(features, label)`` or ``(features, label, weight)``."""


@dataclass(frozen=True)
class ExampleParser:
    """Parses a batch of serialized Examples into features, optional label and optional weight.

    The weight is that of each example, ``[batch]``, or of each of its positions, ``[batch, ...]``.

    Args:
        feature_spec: ``tf.io`` spec of each feature by its name.
        feed: Options that name label, weight and images.
        model_features: Features that the model takes; ``None`` takes all but label and weight, or
            the labels if there are no others.

    Raises:
        ConfigError: A feature that ``feed`` or the model names is missing in the data, or label,
            weight or an image varies in length.
    """

    feature_spec: Mapping[str, Any]
    feed: FeedOptions
    model_features: Collection[str] | None = None

    def __post_init__(self) -> None:
        named = {
            "feed label_key": list(self.feed.label_keys),
            "feed weight_key": [self.feed.weight_key] if self.feed.weight_key else [],
            "feed images": list(self.feed.images),
            "model inputs": list(self.model_features or []),
        }
        for argument, keys in named.items():
            for key in keys:
                if key not in self.feature_spec:
                    raise ConfigError(
                        argument,
                        received=key,
                        expected=f"one of the features {sorted(self.feature_spec)}",
                    )
                spec = self.feature_spec[key]
                if argument != "model inputs" and not isinstance(spec, tf.io.FixedLenFeature):
                    raise ConfigError(
                        argument,
                        received=spec,
                        expected=f"a feature of fixed shape for {key!r}",
                        fix="Set its shape in the schema, or make it dense in Transform.",
                    )

    @tf.autograph.experimental.do_not_convert
    def __call__(self, serialized: tf.Tensor) -> Batch:
        """Parses strings ``[batch]`` into tensors ``[batch, ...]``."""
        spec = {key: self.feature_spec[key] for key in self.required_features}
        parsed = tf.io.parse_example(serialized, spec)
        features = self.decode({key: parsed[key] for key in self.feature_names})
        key = self.feed.label_key
        if key is None:
            return (features,)
        labels = self.decode({label: parsed[label] for label in self.feed.label_keys})
        if isinstance(key, str):
            label = labels[key]
        else:
            label = {output: labels[feature] for output, feature in key.items()}
        if self.feed.weight_key is None:
            return features, label
        weight = parsed[self.feed.weight_key]
        is_of_example = weight.shape[1:].num_elements() == 1
        return features, label, tf.reshape(weight, [-1]) if is_of_example else weight

    @property
    def required_features(self) -> set[str]:
        """Features to read from an Example: inputs of the model, label and weight."""
        keys = {*self.feed.label_keys, *self.feature_names}
        return keys | {self.feed.weight_key} if self.feed.weight_key else keys

    @property
    def feature_names(self) -> list[str]:
        """Sorted names of the features that reach the model."""
        if self.model_features is not None:
            return sorted(self.model_features)
        special = {*self.feed.label_keys, self.feed.weight_key}
        others = sorted(key for key in self.feature_spec if key not in special)
        return others or sorted({*self.feed.label_keys})  # The target is the input.

    def decode(self, features: Mapping[str, Any]) -> dict[str, Any]:
        """Decodes the images among parsed features; other features pass through."""
        return {
            key: decode_images(value, self.feed.images[key]) if key in self.feed.images else value
            for key, value in features.items()
        }

    @property
    def fixed_bytes(self) -> int:
        """Bytes of a decoded example in features of fixed size; the others are not counted."""
        total = 0
        for key in self.required_features:
            spec = self.feature_spec[key]
            if key in self.feed.images:
                total += int(np.prod(self.feed.images[key].shape))
            elif isinstance(spec, tf.io.FixedLenFeature) and spec.dtype != tf.string:
                total += int(np.prod(spec.shape)) * spec.dtype.size
        return total

    def fingerprint(self) -> str:
        """Returns a text that is equal for parsers that accept the same records."""
        specs = {key: repr(self.feature_spec[key]) for key in sorted(self.required_features)}
        images = {key: repr(image) for key, image in sorted(self.feed.images.items())}
        return repr((specs, images, self.feed.label_key, self.feed.weight_key))

    @property
    def has_strings(self) -> bool:
        """True if a feature or a label is a string that is not an image."""
        keys = {*self.feed.label_keys, *self.feature_names} - set(self.feed.images)
        return any(self.feature_spec[key].dtype == tf.string for key in keys)

    @property
    def has_sparse(self) -> bool:
        """True if a feature is a sparse tensor whose width is that of the longest example."""
        specs = (self.feature_spec[key] for key in self.feature_names)
        return any(isinstance(spec, tf.io.VarLenFeature) for spec in specs)

    @property
    def is_dense(self) -> bool:
        """True if every feature has the same shape in all examples."""
        specs = (self.feature_spec[key] for key in self.feature_names)
        return all(isinstance(spec, tf.io.FixedLenFeature) for spec in specs)


def tensor_bytes(tensor: tf.Tensor) -> tf.Tensor:
    """Returns the memory of a dense tensor in bytes, int64 ``[]``, of strings about."""
    if tensor.dtype == tf.string:
        return tf.reduce_sum(tf.cast(tf.strings.length(tensor) + _STRING_BYTES, tf.int64))
    return tf.size(tensor, tf.int64) * tensor.dtype.size


def decode_images(contents: tf.Tensor, image: Image) -> tf.Tensor:
    """Decodes a batch of images.

    Args:
        contents: Strings ``[batch]`` or ``[batch, 1]``.
        image: Size and encoding of the images.

    Returns:
        uint8 ``[batch, height, width, channels]``.
    """
    contents = tf.reshape(contents, [-1])
    if image.encoding == "raw":
        pixels = tf.io.decode_raw(contents, tf.uint8)
        # Not -1: a batch of images of twice the size must fail instead of becoming two batches.
        return tf.reshape(pixels, [tf.size(contents), *image.shape])

    def decode(content: tf.Tensor) -> tf.Tensor:
        pixels = tf.io.decode_image(content, image.channels, expand_animations=False)
        resized = tf.image.resize(pixels, image.shape[:2])
        return tf.cast(tf.round(resized), tf.uint8)

    spec = tf.TensorSpec(image.shape, tf.uint8)
    decoded = tf.map_fn(decode, contents, fn_output_signature=spec)
    return tf.ensure_shape(decoded, [None, *image.shape])
