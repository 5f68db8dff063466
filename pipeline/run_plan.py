"""Plan of a run: training data, base model, and the reasons for it."""

import dataclasses
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.eval_gate.gate import Gate
from tfx_feeder.components.feeder_trainer.training.early_stopping import BaselineEarlyStopping
from tfx_feeder.components.feeder_trainer.training.options import TrainingOptions
from tfx_feeder.pipeline.eval_config import METRIC, overall_margin
from tfx_feeder.pipeline.metadata.types import Execution
from tfx_feeder.schemas.type_check import check_types

REASON = "retrain_reason"
"""Key of the retraining reason in the trainer's ``custom_config``, and thus in ML Metadata."""
_MONITOR = f"val_{METRIC}"


@dataclass(frozen=True, slots=True)
class SpanWeight:
    """Fraction of a span.

    Args:
        span: Number of the span.
        fraction: Fraction of its examples, above 0 and up to 1, selected by their hash.

    Raises:
        ConfigError: The fraction is out of range.
    """

    span: int
    fraction: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise ConfigError("fraction", received=self.fraction, expected="above 0 and up to 1")


@dataclass(frozen=True, slots=True)
class RunPlan:
    """Training data, base model and reasons of a run.

    Args:
        reasons: Reasons, one sentence each; empty for a run that was started manually.
        span: Newest span, which is also used for evaluation; ``None`` for data without spans.
        earlier: Earlier spans to train on in addition.
        warm_start: If True, start from the latest blessed model instead of from scratch.
        early_stop_after: Epochs after which a run that can no longer match the latest blessed
            model is stopped; ``None`` disables early stopping.

    Raises:
        ConfigError: A span occurs twice, or ``early_stop_after`` is out of range.
    """

    reasons: tuple[str, ...] = ()
    span: int | None = None
    earlier: tuple[SpanWeight, ...] = ()
    warm_start: bool = True
    early_stop_after: int | None = None

    def __post_init__(self) -> None:
        spans = [part.span for part in self.earlier]
        if self.span in spans or len(set(spans)) < len(spans):
            raise ConfigError(
                "earlier", received=spans, expected=f"other spans than {self.span}, each once"
            )
        if self.early_stop_after is not None:
            BaselineEarlyStopping(_MONITOR, "max", self.early_stop_after)

    @property
    def reason(self) -> str:
        """All reasons on one line."""
        return "; ".join(self.reasons)

    @property
    def needs_blessed(self) -> bool:
        """True if the trainer needs the latest blessed model."""
        return self.warm_start or self.early_stop_after is not None

    def training(self, options: TrainingOptions, gate: Gate) -> TrainingOptions:
        """Returns training options with early stopping of models that lose more than the margin.

        Args:
            options: Training options without early stopping.
            gate: Gate whose margin on all examples is tolerated.

        Raises:
            ConfigError: Early stopping is requested, and the gate has no such margin.
        """
        if self.early_stop_after is None:
            return options
        margin = overall_margin(gate)
        if margin is None:
            raise ConfigError(
                "early_stop_after",
                received=self.early_stop_after,
                expected="None, because the gate has no margin on all examples",
                fix="Add one, such as Margin(0.02).",
            )
        early_stopping = BaselineEarlyStopping(_MONITOR, "max", self.early_stop_after, margin)
        return dataclasses.replace(options, early_stopping=early_stopping)


def to_document(plan: RunPlan) -> dict[str, Any]:
    """Converts a plan to JSON types."""
    earlier = [{"span": part.span, "fraction": part.fraction} for part in plan.earlier]
    return {
        "reasons": list(plan.reasons),
        "span": plan.span,
        "earlier": earlier,
        "warm_start": plan.warm_start,
        "early_stop_after": plan.early_stop_after,
    }


def from_document(document: Mapping[str, Any]) -> RunPlan:
    """Creates a plan from the result of ``to_document``.

    Raises:
        ConfigError: A value is out of range.
        KeyError: A value is missing.
        TypeError: A value has the wrong type.
    """
    plan = RunPlan(
        reasons=tuple(document["reasons"]),
        span=document["span"],
        earlier=tuple(
            # Earlier releases wrote "share".
            SpanWeight(part["span"], part["fraction"] if "fraction" in part else part["share"])
            for part in document["earlier"]
        ),
        warm_start=bool(document["warm_start"]),
        # Earlier releases wrote "give_up_after", or neither.
        early_stop_after=document.get("early_stop_after", document.get("give_up_after")),
    )
    check_types(plan)
    return plan


def read_decision(path: Path) -> RunPlan:
    """Reads the plan from the output of ``tfx-feeder retrain --decide --json``.

    Raises:
        ConfigError: The file cannot be read, or it contains no plan.
    """
    try:
        return from_document(json.loads(path.read_text(encoding="utf-8"))["plan"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(
            "decision",
            received=str(path),
            expected="the output of `tfx-feeder retrain --decide --json` for a due retraining",
            fix=f"{error!r}.",
        ) from error


def reason_of(execution: Execution) -> str:
    """Returns the recorded reason for a retraining, or an empty string."""
    with suppress(ValueError, AttributeError):
        config = json.loads(str(execution.properties.get("custom_config", "")))
        return str(config.get(REASON, ""))
    return ""


def starts_warm(trainer: Execution) -> bool:
    """Returns True if a trainer started from its base model, not just compared itself with it."""
    return bool(trainer.inputs.get("base_model")) and trainer.properties.get("warm_start") != "off"
