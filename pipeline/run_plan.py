"""What a retraining is to do, and why: the part of a decision that a pipeline is made of."""

import dataclasses
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.training.early_stopping import BaselineEarlyStopping
from tfx_feeder.components.feeder_trainer.training.options import TrainingOptions
from tfx_feeder.pipeline.gates import METRIC, Gates
from tfx_feeder.pipeline.metadata.types import Execution

REASON = "retrain_reason"
"""Key in the trainer's ``custom_config``, and so in ML Metadata, that says why it trained again."""


@dataclass(frozen=True, slots=True)
class SpanWeight:
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
class RunPlan:
    """What a run trains on, what it starts from, and why it was started.

    Args:
        reasons: Why, in sentences; empty for a run that somebody started by hand.
        span: The newest span, on which the model is judged too; ``None`` where there are none.
        earlier: Spans that are trained on together with it.
        warm_start: Start from the latest blessed model, and not from scratch.
        give_up_after: Epochs after which a training is stopped that cannot come up to that model;
            ``None``: it is trained to its end.

    Raises:
        ConfigError: A span is there twice, or ``give_up_after`` is out of range.
    """

    reasons: tuple[str, ...] = ()
    span: int | None = None
    earlier: tuple[SpanWeight, ...] = ()
    warm_start: bool = True
    give_up_after: int | None = None

    def __post_init__(self) -> None:
        spans = [part.span for part in self.earlier]
        if self.span in spans or len(set(spans)) < len(spans):
            raise ConfigError(
                "earlier", received=spans, expected=f"other spans than {self.span}, each once"
            )
        self.loop(TrainingOptions(), Gates())

    @property
    def reason(self) -> str:
        """All reasons in one line."""
        return "; ".join(self.reasons)

    @property
    def needs_blessed(self) -> bool:
        """Whether the trainer has to be given the latest blessed model."""
        return self.warm_start or self.give_up_after is not None

    def loop(self, loop: TrainingOptions, gates: Gates) -> TrainingOptions:
        """Returns how the training runs, given up where the gates would refuse its model.

        Args:
            loop: How it runs otherwise.
            gates: What a model has to reach.
        """
        if self.give_up_after is None:
            return loop
        early_stopping = BaselineEarlyStopping(
            f"val_{METRIC}", "max", self.give_up_after, gates.largest_drop
        )
        return dataclasses.replace(loop, early_stopping=early_stopping)


def to_document(plan: RunPlan) -> dict[str, Any]:
    """Returns a plan in types that JSON has."""
    earlier = [{"span": part.span, "share": part.share} for part in plan.earlier]
    return {
        "reasons": list(plan.reasons),
        "span": plan.span,
        "earlier": earlier,
        "warm_start": plan.warm_start,
        "give_up_after": plan.give_up_after,
    }


def from_document(document: Mapping[str, Any]) -> RunPlan:
    """Reads what ``to_document`` returned.

    Raises:
        ConfigError: A value is out of range.
        KeyError: Something is missing; ``TypeError`` where it is of another type.
    """
    return RunPlan(
        reasons=tuple(document["reasons"]),
        span=document["span"],
        earlier=tuple(SpanWeight(part["span"], part["share"]) for part in document["earlier"]),
        warm_start=bool(document["warm_start"]),
        # Files of earlier releases do not have it.
        give_up_after=document.get("give_up_after"),
    )


def read_decision(path: Path) -> RunPlan:
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


def starts_warm(trainer: Execution) -> bool:
    """Says whether a trainer started from its base model; it may have had one only to beat."""
    return bool(trainer.inputs.get("base_model")) and trainer.properties.get("warm_start") != "off"
