"""Options of reading serving logs and of joining labels."""

from dataclasses import dataclass
from datetime import datetime

from tfx_feeder.common.errors import ConfigError

PREDICTION_LOG, EXAMPLE = "prediction_log", "example"


@dataclass(frozen=True, slots=True)
class ServingLogOptions:
    """Options of reading a serving log.

    Args:
        payload: Type of the records, ``prediction_log`` or ``example``. Neither format tells its
            type.
        model: Name of the model whose requests are read; empty for any.
        signatures: Names of the signatures whose requests are read; empty for any. A request
            without a name is for ``serving_default``.

    Raises:
        ConfigError: The payload is unknown.
    """

    payload: str = PREDICTION_LOG
    model: str = ""
    signatures: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.payload not in (PREDICTION_LOG, EXAMPLE):
            raise ConfigError(
                "payload", received=self.payload, expected=f"{PREDICTION_LOG!r} or {EXAMPLE!r}"
            )


@dataclass(frozen=True, slots=True)
class LabelOptions:
    """Options of joining labels.

    Args:
        key: Name of the column, and of the feature, that identifies an example.
        label: Name of the column with the label, and of the feature that it becomes.
        time: Name of the column with the time at which the label became known, ISO 8601 or seconds
            since the epoch; empty if there is none.
        until: Time from which a label is late and not used; ``None`` for never. Time zone required.

    Raises:
        ConfigError: A name is missing, or a time has no column or no time zone.
    """

    key: str
    label: str
    time: str = ""
    until: datetime | None = None

    def __post_init__(self) -> None:
        for name in ("key", "label"):
            if not getattr(self, name):
                raise ConfigError(name, received="", expected="name of a column")
        if self.until is not None and (not self.time or self.until.tzinfo is None):
            raise ConfigError(
                "until", received=self.until, expected="a time with a time zone, and `time`"
            )
