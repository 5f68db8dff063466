"""Mixtures of splits or spans in exact proportions.

Every ``MIXTURE_PERIOD`` consecutive positions of a mixed stream hold the same number of examples
of each source, in an order that is a function of (seed, position). The number of examples of a
source before any period is therefore a product, so the stream can be opened at any position.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.feed.sampler import Sampler, ShuffleSampler

if TYPE_CHECKING:  # The options check a mixture without TensorFlow.
    import tensorflow as tf

    from tfx_feeder.components.feeder_trainer.feed.record_source import (
        ShuffleMemory,
        TFRecordSource,
    )

MIXTURE_PERIOD = 100
"""Positions within which the proportions are exact; weights are rounded to percents."""

_PERIODS_AT_ONCE = 128
_CHUNK_SIZE = 16
_STREAM = 1  # Separates the seeds of the mixture from those of the sources' samplers.
_SPAN = re.compile(r"span:(\d+|newest|others)")

Files = Sequence[str] | Mapping[str, Sequence[str]]
"""Paths, or the paths of each source of a mixture by its name."""


@dataclass(frozen=True, slots=True)
class SplitFiles:
    """Files of one split of one Examples artifact.

    Args:
        name: Name of the split, as in ``train``.
        span: Span of the artifact; ``None`` if it has none.
        paths: Paths of the files.
    """

    name: str
    span: int | None
    paths: Sequence[str]


def check_sources(mix: Iterable[str], train_splits: Sequence[str]) -> None:
    """Checks the source names of ``FeedOptions.mix``.

    Args:
        mix: Either exactly the splits to train on, or spans: ``span:3``, ``span:newest``, and
            ``span:others`` for all spans that are not named.
        train_splits: Splits to train on.

    Raises:
        ConfigError: A name is neither.
    """
    names = set(mix)
    if not names or names == set(train_splits) or all(_SPAN.fullmatch(name) for name in names):
        return
    raise ConfigError(
        "feed mix",
        received=sorted(names),
        expected=f"a weight for each of the splits {sorted(train_splits)}, or for spans as in "
        "'span:3', 'span:newest' and 'span:others'",
    )


def quantize_weights(weights: Mapping[str, float]) -> dict[str, int]:
    """Converts weights to whole examples per period, by the largest remainder method.

    Args:
        weights: Weight of each source, above 0; the sum is arbitrary.

    Returns:
        Number of examples of each source per period; the numbers add up to ``MIXTURE_PERIOD``.

    Raises:
        ConfigError: A weight is not a number above 0, or amounts to less than one example.

    Example:
        >>> quantize_weights({"span:newest": 0.7, "span:others": 0.3})
        {'span:newest': 70, 'span:others': 30}
    """
    for source, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not weight > 0:
            raise ConfigError(f"feed mix[{source!r}]", received=weight, expected="a weight above 0")
    total = sum(weights.values())
    quotas = {source: weight * MIXTURE_PERIOD / total for source, weight in weights.items()}
    counts = {source: int(quota) for source, quota in quotas.items()}
    by_remainder = sorted(quotas, key=lambda source: (counts[source] - quotas[source], source))
    for source in by_remainder[: MIXTURE_PERIOD - sum(counts.values())]:
        counts[source] += 1
    for source, count in counts.items():
        if not count:
            raise ConfigError(
                f"feed mix[{source!r}]",
                received=weights[source],
                expected=f"at least 1/{MIXTURE_PERIOD} of the sum of the weights, which is {total}",
            )
    return counts


def all_paths(splits: Sequence[SplitFiles]) -> list[str]:
    """Returns the files of all splits."""
    return [path for split in splits for path in split.paths]


def group_by_source(splits: Sequence[SplitFiles], mix: Mapping[str, float]) -> Files:
    """Groups the files of splits by the sources of a mixture.

    Args:
        splits: All splits to train on.
        mix: ``FeedOptions.mix``.

    Returns:
        Files of each source by its name, or all files if there is no mixture. Spans that match no
        source are omitted, and so is ``span:others`` if it matches no span.

    Raises:
        ConfigError: A source has no files, or an artifact has no span.
    """
    if not mix:
        return all_paths(splits)
    spans = {split.span for split in splits}
    by_span = any(name.startswith("span:") for name in mix)
    if by_span and None in spans:
        raise ConfigError(
            "feed mix",
            received=sorted(mix),
            expected="splits, because some Examples have no span (Transform does not pass it on)",
            fix="Train on Examples that carry the custom property 'span', or mix splits.",
        )
    newest = max((span for span in spans if span is not None), default=None)
    result: dict[str, list[str]] = {name: [] for name in sorted(mix)}
    for split in splits:
        candidates = [f"span:{split.span}", "span:others"] if by_span else [split.name]
        if split.span == newest:
            candidates.insert(1, "span:newest")
        source = next((name for name in candidates if name in result), None)
        if source is not None:
            result[source].extend(split.paths)
    if not result.get("span:others", True):
        del result["span:others"]  # The first run of a pipeline has one span only.
    for name, paths in result.items():
        if not paths:
            found = sorted({split.name for split in splits} | {f"span:{span}" for span in spans})
            raise ConfigError(
                f"feed mix[{name!r}]", received=name, expected=f"a source with files among {found}"
            )
    return result


class MixtureSampler:
    """Order of a mixed stream; the examples are numbered source after source.

    Args:
        samplers: Sampler of each source; each source cycles independently.
        counts: Examples of each source per ``MIXTURE_PERIOD``.
        seed: Seed of the mixture.
    """

    def __init__(
        self, samplers: Sequence[ShuffleSampler], counts: Sequence[int], seed: int
    ) -> None:
        self._samplers = samplers
        self._counts = counts
        self._seed = seed
        self._offsets = np.cumsum([0, *(sampler.num_examples for sampler in samplers)])
        self._pattern = np.repeat(np.arange(len(counts)), counts)

    def indices(self, positions: range) -> np.ndarray:
        """See ``Sampler``."""
        group_size = MIXTURE_PERIOD * _PERIODS_AT_ONCE
        group = positions.start // group_size
        groups = range(group, -(-positions.stop // group_size))
        sources = np.concatenate([self._mixture(index) for index in groups] or [[]])
        sources = sources[: positions.stop - group * group_size]
        result = np.empty(len(sources), np.int64)
        for source, sampler in enumerate(self._samplers):
            places = np.flatnonzero(sources == source)
            first = group * _PERIODS_AT_ONCE * self._counts[source]
            taken = sampler.indices(range(first, first + len(places)))
            result[places] = taken + self._offsets[source]
        return result[positions.start - group * group_size :]

    def _mixture(self, group: int) -> np.ndarray:
        """Returns the source at each position of a group of periods."""
        generator = np.random.Generator(np.random.PCG64([self._seed, group, _STREAM]))
        periods = np.tile(self._pattern, (_PERIODS_AT_ONCE, 1))
        return generator.permuted(periods, axis=1).ravel()


class MixtureSource:
    """Record source that mixes several sources in exact proportions; see ``RecordSource``.

    Each source cycles independently: a source that is smaller than its weight suggests repeats
    within a pass over the whole, a larger one takes several passes. ``num_examples`` is the sum
    over the sources, so an epoch is as long as without a mixture.

    Args:
        sources: Records of each source.
        counts: Examples of each source per ``MIXTURE_PERIOD``.
    """

    def __init__(self, sources: Sequence["TFRecordSource"], counts: Sequence[int]) -> None:
        self.num_examples = sum(source.num_examples for source in sources)
        self._sources = sources
        self._counts = counts

    def first(self, count: int) -> "tf.data.Dataset":
        """Returns the first records of the first source: strings ``[]``."""
        return self._sources[0].first(count)

    def sampler(self, seed: int, *, shuffle: bool) -> Sampler:
        """Returns the order of the mixed stream over the records of ``in_order``.

        Args:
            seed: Seed of the order.
            shuffle: If False, every source keeps the order of its files.
        """
        samplers = [
            source.sampler(seed + index, shuffle=shuffle)
            for index, source in enumerate(self._sources)
        ]
        return MixtureSampler(samplers, self._counts, seed)

    def stream(self, start: int, *, seed: int, memory: "ShuffleMemory") -> "tf.data.Dataset":
        """Returns the unbounded mixed stream from a position: strings ``[chunk]``.

        Args:
            start: Position in examples.
            seed: Seed of the order.
            memory: Memory of the shuffling of all sources together.
        """
        import tensorflow as tf

        period, skipped = divmod(start, MIXTURE_PERIOD)
        each = memory.divided(len(self._sources))
        streams = [
            source.stream(period * count, seed=seed + index, memory=each).unbatch()
            for index, (source, count) in enumerate(zip(self._sources, self._counts, strict=True))
        ]
        pattern = tf.constant(np.repeat(np.arange(len(self._counts)), self._counts), tf.int64)

        def mixture(index: tf.Tensor) -> tf.data.Dataset:
            seeds = tf.stack([tf.constant(seed, tf.int64), index])
            shuffled = tf.random.experimental.stateless_shuffle(pattern, seeds)
            return tf.data.Dataset.from_tensor_slices(shuffled)

        choices = tf.data.Dataset.counter(period).flat_map(mixture)
        records = tf.data.Dataset.choose_from_datasets(streams, choices).skip(skipped)
        return records.batch(_CHUNK_SIZE)

    def describe(self, memory: "ShuffleMemory") -> str:
        """Returns how the streams are shuffled, in a few words.

        Args:
            memory: Memory of the shuffling of all sources together.
        """
        each = memory.divided(len(self._sources))
        return "; ".join(source.describe(each) for source in self._sources)
