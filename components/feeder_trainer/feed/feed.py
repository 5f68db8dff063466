"""The model feeder: from the splits of an Examples artifact to batches, always one ahead."""

import contextlib
import tempfile
from collections.abc import Mapping, Sequence

from tfx_feeder.common.errors import DataError
from tfx_feeder.components.feeder_trainer.feed.augmentation import AugmentedFeed, AugmentFn
from tfx_feeder.components.feeder_trainer.feed.base import (
    BatchSource,
    Feed,
    OpenFeed,
)
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
from tfx_feeder.components.feeder_trainer.feed.mixed_records import MixtureSource
from tfx_feeder.components.feeder_trainer.feed.mixture import quantize_weights
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions
from tfx_feeder.components.feeder_trainer.feed.parsing import ExampleParser, parsed_batches
from tfx_feeder.components.feeder_trainer.feed.service_feed import ServiceFeed
from tfx_feeder.components.feeder_trainer.feed.sharding import Shard
from tfx_feeder.components.feeder_trainer.feed.sources import Files
from tfx_feeder.components.feeder_trainer.feed.streaming_feed import StreamingFeed
from tfx_feeder.components.feeder_trainer.feed.tfrecord import (
    UNREADABLE,
    RecordSource,
    TFRecordSource,
    is_parquet,
)

NO_SHARDING = Shard()
"""All of each batch."""

__all__ = ["AugmentFn", "Feed", "open_feed"]


def open_feed(
    paths: Files,
    parser: ExampleParser,
    options: FeedOptions,
    *,
    shuffle: bool,
    augment_fn: AugmentFn | None = None,
    share: Shard = NO_SHARDING,
) -> Feed:
    """Opens the feed that the options ask for. Every record has been through the parser then.

    Args:
        paths: Files of the splits; by source where ``options.mix`` weighs them.
        parser: Makes tensors of a batch of records.
        options: How to feed.
        shuffle: ``False`` keeps the files' order, for validation.
        augment_fn: Augments the features of each batch; for training only.
        share: Part of each global batch that this process gets.

    Raises:
        ConfigError: The options do not fit the features.
        DataError: The files are missing or empty, or hold more bad records than the options allow.
    """
    rejections = Rejections.from_options(options)
    resources = contextlib.ExitStack()
    workspace = resources.enter_context(
        tempfile.TemporaryDirectory(prefix="tfx-feeder-", dir=cache_folder(options))
    )
    sources = paths if isinstance(paths, Mapping) else {"": paths}
    sources = {name: _readable(sorted(sources[name]), workspace) for name in sorted(sources)}
    try:
        source, description = _open(sources, parser, options, shuffle, augment_fn, share)
    except UNREADABLE:
        # Only now one by one: where nothing is bad, looking for it costs nothing.
        try:
            usable = {
                name: drop_corrupt_records(files, parser, rejections, workspace)
                for name, files in sources.items()
            }
            source, description = _open(usable, parser, options, shuffle, augment_fn, share)
        except UNREADABLE as error:
            raise DataError(f"The files {sources} cannot be read: {error}") from error
    if isinstance(source, ServiceFeed):
        resources.callback(source.close)
    return OpenFeed(source, description, dict(rejections.counts), resources)


def _readable(paths: Sequence[str], folder: str) -> Sequence[str]:
    if not any(is_parquet(path) for path in paths):
        return paths
    # Not at the top: it takes TFX's codecs, which the other formats do without.
    from tfx_feeder.components.feeder_trainer.feed.parquet import as_tfrecords

    return as_tfrecords(paths, folder)


def _open(
    sources: Mapping[str, Sequence[str]],
    parser: ExampleParser,
    options: FeedOptions,
    shuffle: bool,
    augment_fn: AugmentFn | None,
    share: Shard,
) -> tuple[BatchSource, str]:
    """Returns the source of batches, and its description."""
    records = _records(sources, options)
    served = options.service is not None and shuffle  # Validation is not worth a service.
    choice = CacheChoice("none", "") if served else choose_cache(records, parser, options)
    if choice.kind == "none":
        for _ in parsed_batches(records.in_order(), parser):
            pass  # A bad record shows now, and not in the middle of the training.
    if served:
        assert isinstance(records, TFRecordSource)  # The options see to it.
        feed = ServiceFeed(records, parser, options, augment_fn)
        return feed, feed.description
    if choice.kind == "none":
        source = StreamingFeed(records, parser, options, shuffle=shuffle, share=share)
    else:
        folder = cache_folder(options) if choice.kind == "disk" else None
        source = CachedFeed(records, parser, options, shuffle=shuffle, folder=folder, share=share)
    if augment_fn is not None:
        source = AugmentedFeed(source, augment_fn, options.seed + share.index)
    return source, str(choice)


def _records(sources: Mapping[str, Sequence[str]], options: FeedOptions) -> RecordSource:
    records = {name: TFRecordSource(paths) for name, paths in sources.items()}
    for source in records.values():
        if not source.num_examples:
            raise DataError(f"The splits hold no examples: {source.paths}.")
    if len(records) == 1:
        return next(iter(records.values()))
    parts = quantize_weights({name: options.mix[name] for name in records})
    return MixtureSource(list(records.values()), list(parts.values()))
