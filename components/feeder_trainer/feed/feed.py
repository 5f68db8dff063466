"""Opens a feed: from the splits of an Examples artifact to batches prepared ahead of training."""

import contextlib
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfx_feeder.common.errors import DataError
from tfx_feeder.common.temporary import temporary_folder
from tfx_feeder.components.feeder_trainer.feed.augmentation import AugmentedFeed, AugmentFn
from tfx_feeder.components.feeder_trainer.feed.base import Feed, OpenFeed
from tfx_feeder.components.feeder_trainer.feed.cache_policy import (
    CacheChoice,
    choose_cache,
)
from tfx_feeder.components.feeder_trainer.feed.cached_feed import CachedFeed, load_examples
from tfx_feeder.components.feeder_trainer.feed.corrupt_records import (
    Rejections,
    drop_corrupt_records,
)
from tfx_feeder.components.feeder_trainer.feed.mixture import (
    Files,
    MixtureSource,
    quantize_weights,
)
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions, cache_folder
from tfx_feeder.components.feeder_trainer.feed.parsing import ExampleParser, tensor_bytes
from tfx_feeder.components.feeder_trainer.feed.record_index import FileIndex, RecordIndexer
from tfx_feeder.components.feeder_trainer.feed.record_source import RecordSource, TFRecordSource
from tfx_feeder.components.feeder_trainer.feed.service_feed import ServiceFeed
from tfx_feeder.components.feeder_trainer.feed.sharding import NO_SHARDING, FilePart, Shard
from tfx_feeder.components.feeder_trainer.feed.streaming_feed import StreamingFeed
from tfx_feeder.components.feeder_trainer.feed.tfrecord import (
    UNREADABLE,
    is_parquet,
)

__all__ = ["AugmentFn", "Feed", "open_feed"]


def open_feed(
    paths: Files,
    parser: ExampleParser,
    options: FeedOptions,
    *,
    shuffle: bool,
    augment_fn: AugmentFn | None = None,
    shard: Shard = NO_SHARDING,
) -> Feed:
    """Opens the feed that the options describe, after parsing every record once.

    Args:
        paths: Files of the splits, grouped by source if ``options.mix`` is set.
        parser: Parser of the records.
        options: Options of the feed.
        shuffle: If False, the order of the files is kept, as for validation.
        augment_fn: Function that augments the features of each batch, for training only.
        shard: This process among those that receive a share of each global batch; see
            ``FeedOptions.sharding``.

    Raises:
        ConfigError: The options do not fit the features.
        DataError: Files are missing or empty, or hold more bad records than the options allow.
        FeederError: A process of a local feed service does not start.
    """
    rejections = Rejections.from_options(options)
    resources = contextlib.ExitStack()
    workspace = resources.enter_context(temporary_folder(cache_folder(options)))
    sources = paths if isinstance(paths, Mapping) else {"": paths}
    sources = {name: _as_tfrecord(sorted(sources[name]), workspace) for name in sorted(sources)}
    indexer = RecordIndexer(parser, options)
    try:
        source, description = _open(sources, parser, options, shuffle, augment_fn, shard, indexer)
    except UNREADABLE:
        # Records are checked one by one only now, so intact files cost no extra pass.
        try:
            intact = {
                name: drop_corrupt_records(files, parser, rejections, workspace, indexer)
                for name, files in sources.items()
            }
            source, description = _open(
                intact, parser, options, shuffle, augment_fn, shard, indexer
            )
        except UNREADABLE as error:
            raise DataError(f"The files {sources} cannot be read: {error}") from error
    resources.callback(source.close)
    return OpenFeed(source, description, dict(rejections.counts), resources)


def _as_tfrecord(paths: Sequence[str], folder: str) -> Sequence[str]:
    if not any(is_parquet(path) for path in paths):
        return paths
    # Imported here because it needs TFX's coders, which the other formats do not.
    from tfx_feeder.components.feeder_trainer.feed.parquet import as_tfrecords

    return as_tfrecords(paths, folder)


def _open(
    sources: Mapping[str, Sequence[str]],
    parser: ExampleParser,
    options: FeedOptions,
    shuffle: bool,
    augment_fn: AugmentFn | None,
    shard: Shard,
    indexer: RecordIndexer,
) -> tuple[Feed, str]:
    """Returns the feed and its description."""
    served = options.service is not None and shuffle  # Validation does not use the service.
    paths = [path for files in sources.values() for path in files]
    if not paths:
        raise DataError("The splits contain no files.")
    rows, reader, own, order = shard, NO_SHARDING, None, options
    if shard.count > 1:
        indexer.index(paths)  # All processes decide alike, from the exact number of examples.
        if _divides_files(paths, options, indexer, served):
            rows, reader = NO_SHARDING, shard
            own = _own_records(indexer.index(paths), shard)
            # With one seed, the same examples would meet in a batch in every pass.
            order = dataclasses.replace(options, seed=options.seed + shard.index)
    examples, choice = (
        (None, CacheChoice("none", "")) if served else _load(paths, parser, options, indexer, own)
    )
    # Reads the files that were not loaded: bad records fail now, not in the middle of training.
    indexes = {name: indexer.index(files) for name, files in sources.items()}
    records = own or _records(indexes, options)
    part = FilePart(reader, sum(file.num_records for files in indexes.values() for file in files))
    if served:
        assert isinstance(records, TFRecordSource)  # FeedOptions rejects a mixture.
        feed = ServiceFeed(records, parser, order, part, augment_fn)
        return feed, feed.description
    if choice.kind == "none":
        # The exact size is known only now. It decides, as it will for the next attempt.
        choice = choose_cache(parser, options, _decoded_bytes(paths, indexer, own)[0])
        if choice.kind != "none":
            examples, choice = _load(paths, parser, options, indexer, own)
    description = str(choice)
    if choice.kind == "none":
        feed = StreamingFeed(records, parser, order, shuffle=shuffle, shard=rows, part=part)
        description += f"; {records.describe(feed.memory)}"
    else:
        feed = CachedFeed(records, examples, order, shuffle=shuffle, shard=rows, part=part)
    if own is not None:
        description += f"; part {shard.index + 1} of {shard.count} of the files"
    if augment_fn is not None:
        feed = AugmentedFeed(feed, augment_fn, options, shard)
    return feed, description


def _divides_files(
    paths: Sequence[str], options: FeedOptions, indexer: RecordIndexer, served: bool
) -> bool:
    """Returns True if each process reads its part of the files; see ``FeedOptions.sharding``."""
    if options.sharding != "auto" or options.mix:
        return options.sharding == "file"
    return served or _decoded_bytes(paths, indexer)[0] > options.memory_budget_mb << 20


def _own_records(files: Sequence[FileIndex], shard: Shard) -> TFRecordSource:
    """Returns the records of one of several processes."""
    records = TFRecordSource(files)
    if records.num_examples < shard.count:
        raise DataError(
            f"{records.num_examples} examples cannot be divided among {shard.count} processes. "
            "Use fewer processes, or sharding='data'."
        )
    return records.part(FilePart(shard, records.num_examples))


def _decoded_bytes(
    paths: Sequence[str], indexer: RecordIndexer, own: TFRecordSource | None = None
) -> tuple[float, bool]:
    """Returns ``RecordIndexer.estimate_decoded_bytes`` for the examples of this process."""
    size, at_least = indexer.estimate_decoded_bytes(paths)
    if own is not None:
        size *= own.num_examples / sum(file.num_records for file in indexer.index(paths))
    return size, at_least


def _load(
    paths: Sequence[str],
    parser: ExampleParser,
    options: FeedOptions,
    indexer: RecordIndexer,
    own: TFRecordSource | None,
) -> tuple[Any, CacheChoice]:
    """Returns the examples in the chosen cache, or ``None`` if they are not held."""
    size, at_least = _decoded_bytes(paths, indexer, own)
    if not size:
        return None, CacheChoice("none", "there are no examples")
    choice = choose_cache(parser, options, size, at_least=at_least)
    while choice.kind != "none":
        folder = cache_folder(options) if choice.kind == "disk" else None
        in_budget = options.cache == "auto" and folder is None
        limit = options.memory_budget_mb * (1 << 20) if in_budget else math.inf
        parsed = indexer.parsed(paths) if own is None else indexer.parsed_parts(own.files)
        examples = load_examples(parsed, folder, limit)
        if examples is not None:
            size = sum(int(tensor_bytes(tensor)) for tensor in tf.nest.flatten(examples))
            exact = choose_cache(parser, options, size)
            return examples, exact if exact.kind == choice.kind else choice
        choice = choose_cache(parser, options, limit + 1, at_least=True)
    return None, choice


def _records(sources: Mapping[str, Sequence[FileIndex]], options: FeedOptions) -> RecordSource:
    records = {name: TFRecordSource(files) for name, files in sources.items()}
    if len(records) == 1:
        return next(iter(records.values()))
    counts = quantize_weights({name: options.mix[name] for name in records})
    return MixtureSource(list(records.values()), list(counts.values()))
