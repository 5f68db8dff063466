"""Which spans a retraining trains on."""

from collections.abc import Sequence
from dataclasses import dataclass

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.pipeline.run_plan import SpanWeight

_LEAST_SHARE = 0.05
"""Of a span of which less is left, nothing is taken: reading it would cost more than it gives."""
_EXPECTED = "latest, all, rolling:K (the newest K spans) or weighted:D (D of it for each span back)"


@dataclass(frozen=True, slots=True)
class Window:
    """The spans that are trained on together.

    Args:
        spans: How many of the newest; ``None``: all.
        decay: What is taken of a span, relative to the one after it; 1: all of every span.

    Raises:
        ConfigError: A value is out of range.

    Example:
        >>> Window.parse("rolling:2").earlier([1, 2, 3])
        (SpanWeight(span=2, fraction=1.0),)
    """

    spans: int | None = 1
    decay: float = 1.0

    def __post_init__(self) -> None:
        if self.spans is not None and self.spans < 1:
            raise ConfigError("window", received=self.spans, expected="1 span or more")
        if not 0 < self.decay <= 1:
            raise ConfigError("window", received=self.decay, expected="above 0 and up to 1")

    @classmethod
    def parse(cls, text: str) -> "Window":
        """Reads ``latest``, ``all``, ``rolling:3`` or ``weighted:0.5``.

        Raises:
            ConfigError: It is none of these.
        """
        kind, _, value = text.partition(":")
        try:
            if kind in ("latest", "all") and not value:
                return cls(1 if kind == "latest" else None)
            if kind == "rolling":
                return cls(int(value))
            if kind == "weighted":
                return cls(None, float(value))
        except ConfigError:
            raise
        except ValueError:
            pass  # No number; said below.
        raise ConfigError("window", received=text, expected=_EXPECTED)

    def earlier(self, spans: Sequence[int]) -> tuple[SpanWeight, ...]:
        """Returns the spans before the newest that belong to the window, the oldest first.

        Args:
            spans: All that are there, in order.
        """
        before = spans[-2::-1] if self.spans is None else spans[-2::-1][: self.spans - 1]
        shares = ((span, round(self.decay**back, 2)) for back, span in enumerate(before, start=1))
        return tuple(SpanWeight(span, share) for span, share in shares if share >= _LEAST_SHARE)[
            ::-1
        ]
