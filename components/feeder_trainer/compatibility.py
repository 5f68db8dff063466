"""Cross-checks strategy, schedule, feed and training options for incompatible settings."""

from typing import Any

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.options import Auto, Strategy
from tfx_feeder.components.feeder_trainer.distribution.strategy_info import STRATEGIES
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions
from tfx_feeder.components.feeder_trainer.schedules.batch_on_plateau import IncreaseBatchOnPlateau
from tfx_feeder.components.feeder_trainer.schedules.noise_scale import GradientNoiseScale
from tfx_feeder.components.feeder_trainer.schedules.policy import Policy
from tfx_feeder.components.feeder_trainer.schedules.schedule import Schedule
from tfx_feeder.components.feeder_trainer.training.options import TrainingOptions


def check_compatibility(
    strategy: Strategy, schedule: Schedule | Policy, feed: FeedOptions, training: TrainingOptions
) -> None:
    """Checks that the options of a training are compatible.

    For ``Auto``, its ``candidates`` are checked.

    Args:
        strategy: Distribution strategy.
        schedule: Schedule or policy.
        feed: Input pipeline options.
        training: Training loop options.

    Raises:
        ConfigError: Two options are incompatible.
    """
    requested = {
        "loop deterministic": training.deterministic or None,
        "loop max_micro_batch_size": training.max_micro_batch_size,
        "schedule": schedule if isinstance(schedule, GradientNoiseScale) else None,
    }
    names = strategy.candidates if isinstance(strategy, Auto) else (strategy.name,)
    for name in names:
        for option in STRATEGIES[name].unsupported:
            _check_absent(option, requested[option], name)
    if isinstance(schedule, IncreaseBatchOnPlateau):
        _check_monitor(schedule.monitor, feed)
    if training.early_stopping is not None:
        _check_early_stopping(schedule, feed)
    if training.class_weight is not None and feed.label_key is None:
        raise ConfigError(
            "loop class_weight and feed label_key",
            received=(dict(training.class_weight), None),
            expected="labels, whose classes are weighted",
        )


def _check_absent(option: str, value: Any, strategy: str) -> None:
    if value is not None:
        raise ConfigError(
            f"{option} and strategy",
            received=(value, strategy),
            expected="only one of the two",
            fix=f"{strategy} does not support this option; see docs/strategies.md.",
        )


def _check_monitor(monitor: str, feed: FeedOptions) -> None:
    if monitor.startswith("val_") and not feed.eval_splits:
        raise ConfigError(
            "on_plateau monitor and feed eval_splits",
            received=(monitor, ()),
            expected="a validation split, on which the metric is measured",
            fix=f"Set eval_splits, or monitor={monitor.removeprefix('val_')}.",
        )


def _check_early_stopping(schedule: Schedule | Policy, feed: FeedOptions) -> None:
    if not feed.eval_splits:
        raise ConfigError(
            "loop early_stopping and feed eval_splits",
            received=(),
            expected="a validation split, whose metric is compared with the baseline",
        )
    policy_decides = isinstance(schedule, IncreaseBatchOnPlateau) or (
        isinstance(schedule, GradientNoiseScale) and schedule.mode == "apply"
    )
    if policy_decides:
        raise ConfigError(
            "loop early_stopping and schedule",
            received=str(schedule),
            expected="a schedule with phases that are known before training",
            fix="Set another schedule, or drop early_stopping: a schedule that a policy decides "
            "during training has no bound.",
        )
