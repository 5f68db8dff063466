"""What a retraining is to do, and why: the part of a decision that a pipeline is made of."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfx_feeder.components.common.errors import ConfigError
from tfx_feeder.pipeline.records import Execution

REASON = "retrain_reason"
"""Key in the trainer's ``custom_config``, and so in ML Metadata, that says why it trained again."""


@dataclass(frozen=True, slots=True)
class SpanShare:
    """A part of a span.

    Args:
        span: Its number.
        share: Of its examples, above 0 and up to 1; which ones is decided by their hash.

    Raises:
        ConfigError: The share is out of range.
    """

    span: int
    share: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ConfigError("share", received=self.share, expected="above 0 and up to 1")


@dataclass(frozen=True, slots=True)
class RetrainPlan:
    """What a run trains on, what it starts from, and why it was started.

    Args:
        reasons: Why, in sentences; empty for a run that somebody started by hand.
        span: The newest span, on which the model is judged too; ``None`` where there are none.
        earlier: Spans that are trained on together with it.
        warm_start: Start from the latest blessed model, and not from scratch.
    """

    reasons: tuple[str, ...] = ()
    span: int | None = None
    earlier: tuple[SpanShare, ...] = ()
    warm_start: bool = True

    def __post_init__(self) -> None:
        spans = [part.span for part in self.earlier]
        if self.span in spans or len(set(spans)) < len(spans):
            raise ConfigError(
                "earlier", received=spans, expected=f"other spans than {self.span}, each once"
            )

    @property
    def reason(self) -> str:
        """All reasons in one line."""
        return "; ".join(self.reasons)


def to_document(plan: RetrainPlan) -> dict[str, Any]:
    """Returns a plan in types that JSON has."""
    earlier = [{"span": part.span, "share": part.share} for part in plan.earlier]
    return {
        "reasons": list(plan.reasons),
        "span": plan.span,
        "earlier": earlier,
        "warm_start": plan.warm_start,
    }


def from_document(document: Mapping[str, Any]) -> RetrainPlan:
    """Reads what ``to_document`` returned.

    Raises:
        ConfigError: A value is out of range.
        KeyError: Something is missing; ``TypeError`` where it is of another type.
    """
    return RetrainPlan(
        reasons=tuple(document["reasons"]),
        span=document["span"],
        earlier=tuple(SpanShare(part["span"], part["share"]) for part in document["earlier"]),
        warm_start=bool(document["warm_start"]),
    )


def read_decision(path: Path) -> RetrainPlan:
    """Reads the plan in what ``tfx-feeder retrain --decide --json`` printed.

    Raises:
        ConfigError: It cannot be read, or it says that there is nothing to do.
    """
    try:
        return from_document(json.loads(path.read_text(encoding="utf-8"))["plan"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            "decision",
            received=str(path),
            expected="what `tfx-feeder retrain --decide --json` printed when it said yes",
            fix=f"{error!r}.",
        ) from error


def reason_of(execution: Execution) -> str:
    """Returns why a trainer was started again; empty where nothing is recorded."""
    with suppress(ValueError, AttributeError):
        config = json.loads(str(execution.properties.get("custom_config", "")))
        return str(config.get(REASON, ""))
    return ""
