"""Opens a feed: from the splits of an Examples artifact to batches prepared ahead of training."""

import contextlib
import tempfile
from collections.abc import Mapping, Sequence

from tfx_feeder.common.errors import DataError
from tfx_feeder.components.feeder_trainer.feed.augmentation import AugmentedFeed, AugmentFn
from tfx_feeder.components.feeder_trainer.feed.base import Feed, OpenFeed
from tfx_feeder.components.feeder_trainer.feed.cache_policy import (
    CacheChoice,
    cache_folder,
    choose_cache,
)
from tfx_feeder.components.feeder_trainer.feed.cached_feed import CachedFeed
from tfx_feeder.components.feeder_trainer.feed.corrupt_records import (
    Rejections,
    drop_corrupt_records,
)
from tfx_feeder.components.feeder_trainer.feed.mixture import (
    Files,
    MixtureSource,
    quantize_weights,
)
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions
from tfx_feeder.components.feeder_trainer.feed.parsing import ExampleParser, parsed_batches
from tfx_feeder.components.feeder_trainer.feed.service_feed import ServiceFeed
from tfx_feeder.components.feeder_trainer.feed.sharding import NO_SHARDING, Shard
from tfx_feeder.components.feeder_trainer.feed.streaming_feed import StreamingFeed
from tfx_feeder.components.feeder_trainer.feed.tfrecord import (
    UNREADABLE,
    RecordSource,
    TFRecordSource,
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
        shard: Part of each global batch that this process receives.

    Raises:
        ConfigError: The options do not fit the features.
        DataError: Files are missing or empty, or hold more bad records than the options allow.
        FeederError: A process of a local feed service does not start.
    """
    rejections = Rejections.from_options(options)
    resources = contextlib.ExitStack()
    workspace = resources.enter_context(
        tempfile.TemporaryDirectory(prefix="tfx-feeder-", dir=cache_folder(options))
    )
    sources = paths if isinstance(paths, Mapping) else {"": paths}
    sources = {name: _as_tfrecord(sorted(sources[name]), workspace) for name in sorted(sources)}
    try:
        source, description = _open(sources, parser, options, shuffle, augment_fn, shard)
    except UNREADABLE:
        # Records are checked one by one only now, so intact files cost no extra pass.
        try:
            intact = {
                name: drop_corrupt_records(files, parser, rejections, workspace)
                for name, files in sources.items()
            }
            source, description = _open(intact, parser, options, shuffle, augment_fn, shard)
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
) -> tuple[Feed, str]:
    """Returns the feed and its description."""
    records = _records(sources, options)
    served = options.service is not None and shuffle  # Validation does not use the service.
    choice = CacheChoice("none", "") if served else choose_cache(records, parser, options)
    if choice.kind == "none":
        for _ in parsed_batches(records.in_order(), parser):
            pass  # Bad records fail now instead of in the middle of training.
    if served:
        assert isinstance(records, TFRecordSource)  # FeedOptions rejects a mixture.
        feed = ServiceFeed(records, parser, options, augment_fn)
        return feed, feed.description
    if choice.kind == "none":
        feed = StreamingFeed(records, parser, options, shuffle=shuffle, shard=shard)
    else:
        folder = cache_folder(options) if choice.kind == "disk" else None
        feed = CachedFeed(records, parser, options, shuffle=shuffle, folder=folder, shard=shard)
    if augment_fn is not None:
        feed = AugmentedFeed(feed, augment_fn, options.seed + shard.index)
    return feed, str(choice)


def _records(sources: Mapping[str, Sequence[str]], options: FeedOptions) -> RecordSource:
    records = {name: TFRecordSource(paths) for name, paths in sources.items()}
    for source in records.values():
        if not source.num_examples:
            raise DataError(f"The splits contain no examples: {source.paths}.")
    if len(records) == 1:
        return next(iter(records.values()))
    counts = quantize_weights({name: options.mix[name] for name in records})
    return MixtureSource(list(records.values()), list(counts.values()))
