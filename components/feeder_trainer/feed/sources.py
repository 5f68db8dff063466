"""What ``Feed.mix`` names: splits, or spans."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tfx_feeder.common.errors import ConfigError

_SPAN = re.compile(r"span:(\d+|newest|others)")


@dataclass(frozen=True, slots=True)
class SplitFiles:
    """The files of one split of one Examples artifact.

    Args:
        name: As in ``train``.
        span: Number of the artifact's span; ``None`` where it has none.
        paths: Its files.
    """

    name: str
    span: int | None
    paths: Sequence[str]


def check_sources(mix: Iterable[str], train_splits: Sequence[str]) -> None:
    """Checks the names in ``Feed.mix``.

    Args:
        mix: Either exactly the splits to train on, or spans: ``span:3``, ``span:newest``, and
            ``span:others`` for all that are not named.
        train_splits: The splits to train on.

    Raises:
        ConfigError: They are something else.
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


Files = Sequence[str] | Mapping[str, Sequence[str]]
"""Paths; for a mixture, source to its paths."""


def all_paths(splits: Sequence[SplitFiles]) -> list[str]:
    """Returns the files of all splits."""
    return [path for split in splits for path in split.paths]


def by_source(splits: Sequence[SplitFiles], mix: Mapping[str, float]) -> Files:
    """Sorts the files of splits by the sources of a mixture.

    Args:
        splits: All splits to train on.
        mix: ``Feed.mix``.

    Returns:
        Source to its files; all of them where nothing is mixed. A span that no source stands for
        is left out, and so is ``span:others`` where there are none.

    Raises:
        ConfigError: A source has no files, or an artifact has no span.
    """
    if not mix:
        return all_paths(splits)
    spans = {split.span for split in splits}
    named = any(name.startswith("span:") for name in mix)
    if named and None in spans:
        raise ConfigError(
            "feed mix",
            received=sorted(mix),
            expected="splits, because some Examples have no span (Transform does not pass it on)",
            fix="Train on Examples that carry the custom property 'span', or mix splits.",
        )
    newest = max((span for span in spans if span is not None), default=None)
    result: dict[str, list[str]] = {name: [] for name in sorted(mix)}
    for split in splits:
        candidates = [f"span:{split.span}", "span:others"] if named else [split.name]
        if split.span == newest:
            candidates.insert(1, "span:newest")
        source = next((name for name in candidates if name in result), None)
        if source is not None:
            result[source].extend(split.paths)
    if not result.get("span:others", True):
        del result["span:others"]  # As in the first run of a pipeline: there is one span only.
    for name, paths in result.items():
        if not paths:
            found = sorted({split.name for split in splits} | {f"span:{span}" for span in spans})
            raise ConfigError(
                f"feed mix[{name!r}]", received=name, expected=f"a source with files among {found}"
            )
    return result
