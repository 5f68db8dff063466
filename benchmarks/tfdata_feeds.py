"""What users write without the suite: the feeds of TensorFlow's own tutorials and guides."""

import tensorflow as tf
from reference import FEATURES, SHAPE

_AUTOTUNE = tf.data.AUTOTUNE
_SHUFFLE_BUFFER = 10_000  # As large as FeederTrainer's default, so that both mix as well.
_MAP_BATCH = 256


def textbook(paths: list[str], batch_size: int, encoding: str = "raw") -> tf.data.Dataset:
    """The tutorials' order: map each example, shuffle, repeat, batch, prefetch.

    Endless; elements are ``(uint8 [batch, 32, 32, 3], int64 [batch])``, as for the others.
    """

    def parse(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        example = tf.io.parse_single_example(serialized, FEATURES)
        return _decode(example["image"], encoding), example["label"]

    records = tf.data.TFRecordDataset(paths, compression_type="GZIP")
    examples = records.map(parse, num_parallel_calls=_AUTOTUNE)
    return examples.shuffle(_SHUFFLE_BUFFER).repeat().batch(batch_size).prefetch(_AUTOTUNE)


def guide_cached(paths: list[str], batch_size: int, encoding: str = "raw") -> tf.data.Dataset:
    """The performance guide: parallel interleave, vectorised map, cache, prefetch.

    The cache stands before the shuffle, because ``batch().shuffle()`` would shuffle whole batches.
    """
    parsed = _interleave(paths).batch(_MAP_BATCH)
    parsed = parsed.map(lambda batch: _parse_batch(batch, encoding), num_parallel_calls=_AUTOTUNE)
    examples = parsed.cache().unbatch().shuffle(_SHUFFLE_BUFFER)
    return examples.repeat().batch(batch_size).prefetch(_AUTOTUNE)


def guide_streamed(paths: list[str], batch_size: int, encoding: str = "raw") -> tf.data.Dataset:
    """The performance guide for data that does not fit into memory: records are shuffled."""
    batches = _interleave(paths).shuffle(_SHUFFLE_BUFFER).repeat().batch(batch_size)
    batches = batches.map(lambda batch: _parse_batch(batch, encoding), num_parallel_calls=_AUTOTUNE)
    return batches.prefetch(_AUTOTUNE)


def in_order(paths: list[str], batch_size: int) -> tf.data.Dataset:
    """One pass in the files' order, for validation; raw images, decoded once."""
    records = tf.data.TFRecordDataset(paths, compression_type="GZIP").batch(batch_size)
    batches = records.map(lambda batch: _parse_batch(batch, "raw"), num_parallel_calls=_AUTOTUNE)
    return batches.cache().prefetch(_AUTOTUNE)


def _interleave(paths: list[str]) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(paths).interleave(
        lambda path: tf.data.TFRecordDataset(path, compression_type="GZIP"),
        num_parallel_calls=_AUTOTUNE,
        deterministic=False,
    )


def _parse_batch(serialized: tf.Tensor, encoding: str) -> tuple[tf.Tensor, tf.Tensor]:
    examples = tf.io.parse_example(serialized, FEATURES)
    images = examples["image"]
    if encoding == "raw":
        return tf.reshape(tf.io.decode_raw(images, tf.uint8), [-1, *SHAPE]), examples["label"]
    spec = tf.TensorSpec(SHAPE, tf.uint8)
    decoded = tf.map_fn(lambda image: _decode(image, encoding), images, fn_output_signature=spec)
    return decoded, examples["label"]


def _decode(image: tf.Tensor, encoding: str) -> tf.Tensor:
    if encoding == "raw":
        return tf.reshape(tf.io.decode_raw(image, tf.uint8), SHAPE)
    return tf.ensure_shape(tf.io.decode_png(image, channels=SHAPE[-1]), SHAPE)
