"""Selects where the decoded examples are held: in memory, on disk, or nowhere."""

from dataclasses import dataclass

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions
from tfx_feeder.components.feeder_trainer.feed.parsing import ExampleParser

_MIB = 1 << 20


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


def choose_cache(
    parser: ExampleParser, options: FeedOptions, decoded_bytes: float, *, at_least: bool = False
) -> CacheChoice:
    """Returns the cache that ``options.cache`` names, or the best one for ``auto``.

    Args:
        parser: Parser of the records.
        options: Options of the feed.
        decoded_bytes: Size of all decoded examples.
        at_least: True if the examples may be larger.

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
    size = decoded_bytes / _MIB
    decoded = f"{'at least ' * at_least}{size:,.1f} MiB of decoded examples"
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


def _obstacles(parser: ExampleParser) -> dict[str, str]:
    """Returns the caches that cannot hold the features, with the reason."""
    if not parser.is_dense:
        return dict.fromkeys(("memory", "disk"), "some features vary in length")
    if parser.has_strings:
        return {"disk": "some features are strings, which vary in length"}
    return {}
