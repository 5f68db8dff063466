"""Window of spans that a retraining trains on."""

from collections.abc import Sequence
from dataclasses import dataclass

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.pipeline.run_plan import SpanWeight

_MIN_WEIGHT = 0.05
"""Smallest weight of a span; below it, reading the span costs more than it contributes."""
_EXPECTED = (
    "latest, all, rolling:K (the newest K spans) or weighted:D (weight D**k for the k-th span back)"
)


@dataclass(frozen=True, slots=True)
class Window:
    """Spans that are trained on together.

    Args:
        spans: Number of newest spans; ``None`` for all.
        decay: Weight of a span relative to the next newer one; 1 for all examples of every span.

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
        """Parses ``latest``, ``all``, ``rolling:3`` or ``weighted:0.5``.

        Raises:
            ConfigError: The text has another form.
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
            pass  # Not a number; reported below.
        raise ConfigError("window", received=text, expected=_EXPECTED)

    def earlier(self, spans: Sequence[int]) -> tuple[SpanWeight, ...]:
        """Returns the spans in the window before the newest span, oldest first.

        Args:
            spans: All complete spans, in order.
        """
        before = spans[-2::-1] if self.spans is None else spans[-2::-1][: self.spans - 1]
        weights = ((span, round(self.decay**back, 2)) for back, span in enumerate(before, start=1))
        kept = [SpanWeight(span, weight) for span, weight in weights if weight >= _MIN_WEIGHT]
        return tuple(kept[::-1])
