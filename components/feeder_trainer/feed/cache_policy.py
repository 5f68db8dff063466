"""Where the decoded examples are held: in memory, on disk, or not at all."""

import os
import tempfile
from dataclasses import dataclass

import tensorflow as tf

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions
from tfx_feeder.components.feeder_trainer.feed.parsing import ExampleParser, parsed_batches
from tfx_feeder.components.feeder_trainer.feed.tfrecord import RecordSource

_MIB = 1 << 20
_STRING_BYTES = 24  # What TensorFlow spends on a string besides its characters.


@dataclass(frozen=True, slots=True)
class CacheChoice:
    """The outcome of ``FeedOptions.cache``.

    Args:
        kind: ``memory``, ``disk`` or ``none``.
        why: The reason, in half a sentence.
    """

    kind: str
    why: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.why}"


def choose_cache(records: RecordSource, parser: ExampleParser, options: FeedOptions) -> CacheChoice:
    """Follows ``options.cache``, and chooses where it says ``auto``.

    Raises:
        ConfigError: The features are of a kind that the cache cannot hold.
    """
    wanted = options.cache
    obstacles = _obstacles(parser)
    if wanted in obstacles:
        raise ConfigError(
            "feed cache", received=wanted, expected=f"another one, because {obstacles[wanted]}"
        )
    if wanted == "none":
        return CacheChoice("none", "as asked")
    if "memory" in obstacles:
        return CacheChoice("none", obstacles["memory"])
    size = decoded_bytes(records, parser) / _MIB
    decoded = f"{size:,.1f} MiB of decoded examples"
    if wanted != "auto":
        return CacheChoice(wanted, f"{decoded}, as asked")
    budget = f"the budget of {options.memory_budget_mb:,} MiB"
    if size <= options.memory_budget_mb:
        return CacheChoice("memory", f"{decoded} fit into {budget}")
    too_large = f"{decoded} exceed {budget}"
    if options.cache_dir is None or "disk" in obstacles:
        return CacheChoice(
            "none", f"{too_large}, and {obstacles.get('disk', 'no cache_dir is named')}"
        )
    return CacheChoice("disk", f"{too_large}; held in {options.cache_dir}")


def cache_folder(options: FeedOptions) -> str:
    """Returns the local folder for what the feed puts on disk."""
    folder = options.cache_dir or tempfile.gettempdir()
    os.makedirs(folder, exist_ok=True)
    return folder


def decoded_bytes(records: RecordSource, parser: ExampleParser) -> float:
    """Estimates the decoded size of all examples from the first batch, in bytes."""
    for batch in parsed_batches(records.in_order(), parser).take(1):
        tensors = tf.nest.flatten(batch)
        return records.num_examples * sum(_bytes(t) / t.shape[0] for t in tensors)
    return 0.0


def _obstacles(parser: ExampleParser) -> dict[str, str]:
    """Says which caches cannot hold the features, and why."""
    if not parser.is_dense:
        return dict.fromkeys(("memory", "disk"), "some features vary in length")
    if parser.has_strings:
        return {"disk": "some features are strings, which vary in length"}
    return {}


def _bytes(tensor: tf.Tensor) -> int:
    if tensor.dtype == tf.string:
        return int(tf.reduce_sum(tf.strings.length(tensor) + _STRING_BYTES))
    return int(tf.size(tensor)) * tensor.dtype.size
