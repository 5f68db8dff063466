"""Conversion of labeled images to ``tf.train.Example``."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

RESERVED = frozenset({"image", "label", "height", "width"})


def to_example(
    image: bytes, label: int, size: tuple[int, int], features: Mapping[str, Any]
) -> tf.train.Example:
    """Builds the Example of one image.

    Args:
        image: PNG or JPEG bytes.
        label: Class index.
        size: Height and width in pixels.
        features: Additional columns: numbers, text, or NumPy arrays of either.

    Returns:
        Example with ``image``, ``label``, ``height``, ``width`` and the additional columns.
    """
    columns = {name: to_feature(value) for name, value in features.items()}
    columns["image"] = to_feature(image)
    for name, number in (("label", label), ("height", size[0]), ("width", size[1])):
        columns[name] = to_feature(number)
    return tf.train.Example(features=tf.train.Features(feature=columns))


def to_feature(value: Any) -> tf.train.Feature:
    """Converts a number, text, bytes, or an array of them to a feature.

    Example:
        >>> to_feature(3).int64_list.value[0]
        3
    """
    values: Sequence[Any]
    values = value.reshape(-1).tolist() if isinstance(value, np.ndarray | np.generic) else [value]
    first = values[0] if values else 0
    if isinstance(first, int):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    if isinstance(first, float):
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    encoded = [item.encode() if isinstance(item, str) else item for item in values]
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=encoded))
