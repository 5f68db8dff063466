"""What a pipeline says about feeding and placing a training: plain values, checked when made."""

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.common.validation import check_among, check_at_least
from tfx_feeder.components.feeder_trainer.feed.mixture import quantize_weights
from tfx_feeder.components.feeder_trainer.feed.sources import check_sources

T = TypeVar("T")
_SERVICE = re.compile(r"local:[1-9]\d*|grpc://[^\s/]+:\d+")


@dataclass(frozen=True, slots=True)
class Image:
    """How a bytes feature holds an image.

    Args:
        height: Pixels.
        width: Pixels.
        channels: 1 (grey) or 3 (red, green, blue).
        encoding: ``"raw"``: height x width x channels bytes, row by row. ``"file"``: a PNG or JPEG
            file, resized bilinearly where its size differs.
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
    """How Examples become batches.

    Args:
        label_key: Feature that holds the target. For a model with several outputs, the name of
            each output and the feature that holds its target.
        weight_key: Feature that holds the weight of each example; optional.
        images: Bytes features that hold images; they reach the model as uint8
            ``[batch, height, width, channels]``.
        train_splits: Splits to train on.
        mix: Weight of each source of training examples: of the splits, as in
            ``{"train": 3, "extra": 1}``, or of spans, ``{"span:newest": 0.7, "span:others": 0.3}``
            (``"span:3"`` names one; there may be no others). Exact in every 100 examples; a source
            smaller than its share repeats. Empty: all examples alike. The length of an epoch is
            that of all sources together either way.
        eval_splits: Splits to validate on after each epoch; empty: no validation.
        eval_batch_size: Examples in a batch of validation.
        shuffle_buffer: Examples among which a streamed feed shuffles; it holds two such blocks. A
            feed in memory shuffles over the whole split. 0 keeps the files' order.
        cache: ``"memory"`` holds the decoded examples in memory, ``"disk"`` in memory-mapped files,
            ``"none"`` reads the files again in every pass. ``"auto"`` chooses memory where they fit
            into ``memory_budget_mb``, else disk where ``cache_dir`` is named, else none.
        memory_budget_mb: Upper bound for ``"auto"``, in MiB.
        cache_dir: Local folder for ``"disk"`` and for rewritten files; ``None``: the system's
            folder for temporary files. What is put there is gone when the process ends.
        on_bad_record: ``"fail"`` stops at the first record that cannot be used; ``"skip"`` leaves
            it out, counts it by reason, and goes on with the good ones around it.
        max_bad_records: With ``"skip"``: more than these are an error all the same.
        drop_remainder: Leave out the last partial batch of an epoch, unless it is its only one.
        prefetch: Batches prepared ahead of the training step; 0 lets tf.data choose.
        service: Lets tf.data service make the batches, for jobs that wait for their input:
            ``"local:2"`` starts two workers here, ``"grpc://host:port"`` uses a dispatcher that
            runs. The files are read in every pass then; not together with ``mix``.
        service_timeout_s: Longest silence of the service, in seconds; what it has not delivered of
            an epoch by then is read by the trainer.
        seed: Everything random about the order derives from it.

    Raises:
        ConfigError: A value is out of range.
    """

    label_key: str | Mapping[str, str] = "label"
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
    service: str | None = None
    service_timeout_s: int = 60
    seed: int = 0

    @property
    def label_keys(self) -> tuple[str, ...]:
        """The features that hold targets."""
        key = self.label_key
        return (key,) if isinstance(key, str) else tuple(key.values())

    def __post_init__(self) -> None:
        if not self.label_key or not all(self.label_keys):
            raise ConfigError("feed label_key", received=self.label_key, expected="a feature name")
        for name in ("train_splits", "eval_splits"):
            value = getattr(self, name)
            if isinstance(value, str):  # Its letters would pass for names.
                raise ConfigError(f"feed {name}", received=value, expected=f"({value!r},)")
        if not self.train_splits:
            raise ConfigError("feed train_splits", received=(), expected="at least one split")
        check_sources(self.mix, self.train_splits)
        if self.mix:
            quantize_weights(self.mix)
        check_among("feed cache", self.cache, ("auto", "memory", "disk", "none"))
        check_among("feed on_bad_record", self.on_bad_record, ("fail", "skip"))
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
        for option, wanted in (("mix", self.mix), ("cache", self.cache in ("memory", "disk"))):
            if wanted:
                raise ConfigError(
                    f"feed service and {option}",
                    received=(service, getattr(self, option)),
                    expected="one of the two",
                    fix="A cache needs no service: its batches cost a gather."
                    if option == "cache"
                    else "",
                )


def checked(argument: str, value: Any, kind: type[T]) -> T:
    """Returns the value, or its default for ``None``.

    Raises:
        ConfigError: It is of another type.
    """
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise ConfigError(argument, received=value, expected=f"a {kind.__name__}")
    return value


def to_json(options: Any) -> str:
    """Writes an options dataclass so that an execution property can hold it."""
    return json.dumps(dataclasses.asdict(options), sort_keys=True)


def from_json(kind: type[T], text: str) -> T:
    """Reads back what ``to_json`` wrote."""
    return kind(**json.loads(text))


def _as_image(value: Any) -> Image:
    if isinstance(value, Image):
        return value
    if isinstance(value, Mapping):
        return Image(**value)
    raise ConfigError("feed images", received=value, expected="an Image for each feature")
