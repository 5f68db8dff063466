"""Selects where the decoded examples are held: in memory, on disk, or nowhere."""

import os
import tempfile
from dataclasses import dataclass

import tensorflow as tf

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions
from tfx_feeder.components.feeder_trainer.feed.parsing import ExampleParser, parsed_batches
from tfx_feeder.components.feeder_trainer.feed.tfrecord import RecordSource

_MIB = 1 << 20
_STRING_BYTES = 24  # Overhead of TensorFlow per string.


@dataclass(frozen=True, slots=True)
class CacheChoice:
    """Cache that ``FeedOptions.cache`` resolves to.

    Args:
        kind: ``memory``, ``disk`` or ``none``.
        reason: Reason for the choice, as a sentence fragment.
    """

    kind: str
    reason: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.reason}"


def choose_cache(records: RecordSource, parser: ExampleParser, options: FeedOptions) -> CacheChoice:
    """Returns the cache that ``options.cache`` names, or the best one for ``auto``.

    Args:
        records: Records to hold; the first batch is decoded to estimate the size.
        parser: Parser of the records.
        options: Options of the feed.

    Raises:
        ConfigError: The requested cache cannot hold the features.
    """
    requested = options.cache
    obstacles = _obstacles(parser)
    if requested in obstacles:
        raise ConfigError(
            "feed cache",
            received=requested,
            expected=f"a different cache, because {obstacles[requested]}",
        )
    if requested == "none":
        return CacheChoice("none", "as requested")
    if "memory" in obstacles:
        return CacheChoice("none", obstacles["memory"])
    size = decoded_bytes(records, parser) / _MIB
    decoded = f"{size:,.1f} MiB of decoded examples"
    if requested != "auto":
        return CacheChoice(requested, f"{decoded}, as requested")
    budget = f"the budget of {options.memory_budget_mb:,} MiB"
    if size <= options.memory_budget_mb:
        return CacheChoice("memory", f"{decoded} fit into {budget}")
    too_large = f"{decoded} exceed {budget}"
    if options.cache_dir is None or "disk" in obstacles:
        return CacheChoice(
            "none", f"{too_large}, and {obstacles.get('disk', 'no cache_dir is set')}"
        )
    return CacheChoice("disk", f"{too_large}; held in {options.cache_dir}")


def cache_folder(options: FeedOptions) -> str:
    """Returns the local folder for files that the feed writes, creating it if needed."""
    folder = options.cache_dir or tempfile.gettempdir()
    os.makedirs(folder, exist_ok=True)
    return folder


def decoded_bytes(records: RecordSource, parser: ExampleParser) -> float:
    """Estimates the decoded size of all examples, in bytes, from the first batch.

    Args:
        records: Records to decode.
        parser: Parser of the records.
    """
    for batch in parsed_batches(records.in_order(), parser).take(1):
        tensors = tf.nest.flatten(batch)
        return records.num_examples * sum(_bytes(t) / t.shape[0] for t in tensors)
    return 0.0


def _obstacles(parser: ExampleParser) -> dict[str, str]:
    """Returns the caches that cannot hold the features, with the reason."""
    if not parser.is_dense:
        return dict.fromkeys(("memory", "disk"), "some features vary in length")
    if parser.has_strings:
        return {"disk": "some features are strings, which vary in length"}
    return {}


def _bytes(tensor: tf.Tensor) -> int:
    if tensor.dtype == tf.string:
        return int(tf.reduce_sum(tf.strings.length(tensor) + _STRING_BYTES))
    return int(tf.size(tensor)) * tensor.dtype.size
