"""Options of the feed, validated on construction and serializable as JSON."""

import dataclasses
import json
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.common.validation import check_among, check_at_least
from tfx_feeder.components.feeder_trainer.feed.mixture import check_sources, quantize_weights

_ADDED_DEFAULTS = (("sharding", "auto"),)
T = TypeVar("T")
_SERVICE = re.compile(r"local:[1-9]\d*|grpc://[^\s/]+:\d+")


@dataclass(frozen=True, slots=True)
class Image:
    """Size and encoding of the images in a bytes feature.

    Args:
        height: Height in pixels.
        width: Width in pixels.
        channels: 1 (grayscale) or 3 (RGB).
        encoding: ``"raw"`` for height x width x channels bytes, row by row. ``"file"`` for a PNG
            or JPEG file, which is resized bilinearly if its size differs.

    Raises:
        ConfigError: A value is out of range.
    """

    height: int
    width: int
    channels: int
    encoding: str = "raw"

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            check_at_least(f"image {name}", getattr(self, name), 1)
        if self.channels not in (1, 3):
            raise ConfigError("image channels", received=self.channels, expected="1 or 3")
        check_among("image encoding", self.encoding, ("raw", "file"))

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(height, width, channels)``."""
        return (self.height, self.width, self.channels)


@dataclass(frozen=True, slots=True)
class FeedOptions:
    """Options for turning Examples into batches.

    Args:
        label_key: Feature that holds the target; it may be an image, also one that the model takes
            as input. For a model with several outputs, a mapping from the name of each output to
            the feature that holds its target. ``None`` for a model without labels, which makes its
            own targets, such as a GAN; batches then hold features only.
        weight_key: Feature that holds the weight of each example, or of each of its positions, such
            as the words of a text; optional. Needs a label.
        images: Image format of each bytes feature that holds images; the model receives them as
            uint8 ``[batch, height, width, channels]``.
        train_splits: Splits to train on.
        mix: Weight of each source of training examples, either splits, as in
            ``{"train": 3, "extra": 1}``, or spans, as in
            ``{"span:newest": 0.7, "span:others": 0.3}`` (``"span:3"`` names a single span;
            ``"span:others"`` may match none). The proportions are exact in every 100 examples; a
            source smaller than its weight suggests repeats. If empty, all examples have equal
            weight. In both cases, an epoch has as many examples as all sources together.
        eval_splits: Splits to validate on after each epoch; empty disables validation.
        eval_batch_size: Examples in a validation batch.
        shuffle_buffer: Largest block, in examples, that is shuffled without a cache; the block is
            smaller if two of them would exceed two thirds of ``memory_budget_mb``. With a cache,
            the whole split is shuffled. 0 keeps the order of the files.
        cache: ``"memory"`` holds the decoded examples in memory, ``"disk"`` in memory-mapped
            files; ``"none"`` reads the files in every pass. ``"auto"`` selects memory if the
            examples fit into ``memory_budget_mb``, else disk if ``cache_dir`` is set, else none.
        memory_budget_mb: Memory in MiB for the examples that ``"auto"`` holds in memory, or for
            opening and shuffling without a cache; the batches of ``prefetch`` come on top.
        cache_dir: Local folder for ``"disk"``, for converted files and for the index of the
            records; ``None`` uses the system's folder for temporary files. The files are deleted
            when the process exits, except for the index.
        on_bad_record: ``"fail"`` stops at the first unusable record; ``"skip"`` drops unusable
            records and counts them by reason.
        max_bad_records: Largest number of records that ``"skip"`` may drop without an error.
        drop_remainder: If True, the last partial batch of an epoch is dropped, unless it is the
            only batch.
        prefetch: Batches prepared ahead of the training step; 0 lets tf.data choose.
        sharding: Division of the examples among the processes of a strategy that runs the
            training in several. ``"data"``: every process reads all files and takes its rows of
            each batch, so the batches are those of a single process. ``"file"``: every process
            reads its part of the files, and the batches depend on the number of processes.
            ``"auto"``: ``"file"`` with ``service``, or if the decoded examples exceed
            ``memory_budget_mb`` and there is no ``mix``; else ``"data"``.
        service: tf.data service that makes the batches, for input-bound jobs: ``"local:2"`` starts
            two workers on this machine, or on that of the chief if several processes train;
            ``"grpc://host:port"`` uses a running dispatcher. The files are read in every pass;
            ``mix`` is not supported.
        service_timeout_s: Longest wait for the service, in seconds, after which the trainer reads
            the missing examples of the epoch itself.
        seed: Seed of the order of the examples and of the augmentation.

    Raises:
        ConfigError: A value is out of range.
    """

    label_key: str | Mapping[str, str] | None = "label"
    weight_key: str | None = None
    images: Mapping[str, Image] = field(default_factory=dict)
    train_splits: tuple[str, ...] = ("train",)
    mix: Mapping[str, float] = field(default_factory=dict)
    eval_splits: tuple[str, ...] = ("eval",)
    eval_batch_size: int = 256
    shuffle_buffer: int = 10_000
    cache: str = "auto"
    memory_budget_mb: int = 2048
    cache_dir: str | None = None
    on_bad_record: str = "fail"
    max_bad_records: int = 100
    drop_remainder: bool = False
    prefetch: int = 4
    sharding: str = "auto"
    service: str | None = None
    service_timeout_s: int = 60
    seed: int = 0

    @property
    def service_workers(self) -> int:
        """Workers that ``service`` starts on this machine; 0 for a running dispatcher."""
        kind, _, workers = (self.service or "").partition(":")
        return int(workers) if kind == "local" else 0

    @property
    def label_keys(self) -> tuple[str, ...]:
        """Features that hold targets."""
        key = self.label_key
        if key is None:
            return ()
        return (key,) if isinstance(key, str) else tuple(key.values())

    def __post_init__(self) -> None:
        if self.label_key is not None and not (self.label_key and all(self.label_keys)):
            raise ConfigError(
                "feed label_key", received=self.label_key, expected="a feature name, or None"
            )
        if self.label_key is None and self.weight_key is not None:
            raise ConfigError(
                "feed label_key and weight_key",
                received=(None, self.weight_key),
                expected="a label, whose loss is weighted",
                fix="Drop weight_key; the model then receives that feature like the others.",
            )
        for name in ("train_splits", "eval_splits"):
            value = getattr(self, name)
            if isinstance(value, str):  # A string would pass for a sequence of its letters.
                raise ConfigError(f"feed {name}", received=value, expected=f"({value!r},)")
        if not self.train_splits:
            raise ConfigError("feed train_splits", received=(), expected="at least one split")
        check_sources(self.mix, self.train_splits)
        if self.mix:
            quantize_weights(self.mix)
        check_among("feed cache", self.cache, ("auto", "memory", "disk", "none"))
        check_among("feed on_bad_record", self.on_bad_record, ("fail", "skip"))
        check_among("feed sharding", self.sharding, ("auto", "data", "file"))
        if self.sharding == "file" and self.mix:
            raise ConfigError(
                "feed sharding and mix",
                received=(self.sharding, self.mix),
                expected="only one of the two",
                fix='A mixture needs sharding="data".',
            )
        check_at_least("feed eval_batch_size", self.eval_batch_size, 1)
        for name in ("shuffle_buffer", "prefetch", "seed", "max_bad_records"):
            check_at_least(f"feed {name}", getattr(self, name), 0)
        check_at_least("feed memory_budget_mb", self.memory_budget_mb, 1)
        check_at_least("feed service_timeout_s", self.service_timeout_s, 1)
        if self.service is not None:
            self._check_service(self.service)
        images = {key: _as_image(value) for key, value in self.images.items()}
        object.__setattr__(self, "images", images)
        object.__setattr__(self, "train_splits", tuple(self.train_splits))
        object.__setattr__(self, "eval_splits", tuple(self.eval_splits))

    def _check_service(self, service: str) -> None:
        if not isinstance(service, str) or not _SERVICE.fullmatch(service):
            raise ConfigError(
                "feed service", received=service, expected="as in 'local:2' or 'grpc://host:port'"
            )
        conflicts = {
            "mix": self.mix,
            "cache": self.cache in ("memory", "disk"),
            "sharding": self.sharding == "data",
        }
        for option, is_set in conflicts.items():
            if is_set:
                raise ConfigError(
                    f"feed service and {option}",
                    received=(service, getattr(self, option)),
                    expected="only one of the two",
                    fix="A cached feed needs no service, because it only gathers decoded examples."
                    if option == "cache"
                    else "",
                )


def cache_folder(options: FeedOptions) -> str:
    """Returns the local folder for files that the feed writes, creating it if needed."""
    folder = options.cache_dir or tempfile.gettempdir()
    os.makedirs(folder, exist_ok=True)
    return folder


def checked(argument: str, value: Any, kind: type[T]) -> T:
    """Returns the value, or a default instance for ``None``.

    Args:
        argument: Name of the argument, for the error.
        value: Value to check.
        kind: Expected type.

    Raises:
        ConfigError: The value has a different type.
    """
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise ConfigError(argument, received=value, expected=f"a {kind.__name__}")
    return value


def to_json(options: Any) -> str:
    """Serializes an options dataclass for an execution property.

    The cache and the folder of checkpoints are keyed by this text, so it names an option that was
    added after release 0.1.0 only where it is set.
    """
    values = dataclasses.asdict(options)
    set_values = {key: v for key, v in values.items() if (key, v) not in _ADDED_DEFAULTS}
    return json.dumps(set_values, sort_keys=True)


def from_json(kind: type[T], text: str) -> T:
    """Deserializes an options dataclass.

    Args:
        kind: Type of the options.
        text: Text that ``to_json`` wrote.
    """
    return kind(**json.loads(text))


def _as_image(value: Any) -> Image:
    if isinstance(value, Image):
        return value
    if isinstance(value, Mapping):
        return Image(**value)
    raise ConfigError("feed images", received=value, expected="an Image for each feature")
