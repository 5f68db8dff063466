"""Mixing sources of examples in exact proportions.

Every ``MIXTURE_PERIOD`` consecutive positions of a mixed stream hold the same number of examples
of each source, in an order that is a function of (seed, position). How many examples of a source
stand before a block is then a product, so that a stream can be opened anywhere.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.feed.sampler import ShuffleSampler

MIXTURE_PERIOD = 100
"""Positions within which the proportions are exact: weights count in percent."""

_BLOCKS_AT_ONCE = 128
_STREAM = 1  # Tells the seeds of the mixture from those of the orders.


def quantize_weights(weights: Mapping[str, float]) -> dict[str, int]:
    """Turns weights into whole examples of every block, by largest remainder.

    Args:
        weights: Source to its weight, above 0; any sum.

    Returns:
        Source to its share; the shares add up to ``MIXTURE_PERIOD``.

    Raises:
        ConfigError: A weight is no number above 0, or comes to less than one in ``MIXTURE_PERIOD``.

    Example:
        >>> quantize_weights({"span:newest": 0.7, "span:others": 0.3})
        {'span:newest': 70, 'span:others': 30}
    """
    for source, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not weight > 0:
            raise ConfigError(f"feed mix[{source!r}]", received=weight, expected="a weight above 0")
    total = sum(weights.values())
    quotas = {source: weight * MIXTURE_PERIOD / total for source, weight in weights.items()}
    result = {source: int(quota) for source, quota in quotas.items()}
    by_remainder = sorted(quotas, key=lambda source: (result[source] - quotas[source], source))
    for source in by_remainder[: MIXTURE_PERIOD - sum(result.values())]:
        result[source] += 1
    for source, share in result.items():
        if not share:
            raise ConfigError(
                f"feed mix[{source!r}]",
                received=weights[source],
                expected=f"at least 1/{MIXTURE_PERIOD} of the sum of the weights, which is {total}",
            )
    return result


class MixtureSampler:
    """The order of a mixed stream; the sources' examples are numbered one source after another.

    Args:
        orders: The order of each source; a source that is smaller than its share repeats.
        shares: Examples of each source in a block.
        seed: Derives the mixture.
    """

    def __init__(
        self, orders: Sequence[ShuffleSampler], quantize_weights: Sequence[int], seed: int
    ) -> None:
        self._orders = orders
        self._shares = quantize_weights
        self._seed = seed
        sizes = [order.num_examples for order in orders]
        self._offsets = np.cumsum([0, *sizes])
        self._pattern = np.repeat(np.arange(len(quantize_weights)), quantize_weights)

    def indices(self, positions: range) -> np.ndarray:
        """See ``ShuffleSampler.indices``."""
        group_size = MIXTURE_PERIOD * _BLOCKS_AT_ONCE
        group = positions.start // group_size
        groups = range(group, -(-positions.stop // group_size))
        sources = np.concatenate([self._mixture(index) for index in groups] or [[]])
        sources = sources[: positions.stop - group * group_size]
        result = np.empty(len(sources), np.int64)
        for source, order in enumerate(self._orders):
            places = np.flatnonzero(sources == source)
            first = group * _BLOCKS_AT_ONCE * self._shares[source]
            taken = order.indices(range(first, first + len(places)))
            result[places] = taken + self._offsets[source]
        return result[positions.start - group * group_size :]

    def _mixture(self, group: int) -> np.ndarray:
        """Returns which source stands at each position of consecutive blocks."""
        generator = np.random.Generator(np.random.PCG64([self._seed, group, _STREAM]))
        blocks = np.tile(self._pattern, (_BLOCKS_AT_ONCE, 1))
        return generator.permuted(blocks, axis=1).ravel()
