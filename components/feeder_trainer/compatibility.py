"""Cross-checks strategy, schedule, feed and training options for incompatible settings."""

from typing import Any

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.options import STRATEGIES, Auto, Strategy
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions
from tfx_feeder.components.feeder_trainer.schedules.batch_on_plateau import IncreaseBatchOnPlateau
from tfx_feeder.components.feeder_trainer.schedules.noise_scale import GradientNoiseScale
from tfx_feeder.components.feeder_trainer.schedules.policy import Policy
from tfx_feeder.components.feeder_trainer.schedules.schedule import Schedule
from tfx_feeder.components.feeder_trainer.training.options import TrainingOptions


def check_goes_together(
    strategy: Strategy, schedule: Schedule | Policy, feed: FeedOptions, loop: TrainingOptions
) -> None:
    """Checks that the options of a training are compatible.

    For ``Auto``, the named candidates are checked; unnamed ones are skipped by its selection.

    Args:
        strategy: Distribution strategy.
        schedule: Schedule or policy.
        feed: Input pipeline options.
        loop: Training loop options.

    Raises:
        ConfigError: If two options are incompatible.
    """
    asked = {
        "feed service": feed.service,
        "loop deterministic": loop.deterministic or None,
        "loop max_micro_batch_size": loop.max_micro_batch_size,
        "schedule": schedule if isinstance(schedule, GradientNoiseScale) else None,
    }
    names = strategy.candidates if isinstance(strategy, Auto) else (strategy.name,)
    for name in names:
        for option in STRATEGIES[name].unsupported:
            _check_absent(option, asked[option], name)
    if loop.early_stopping is not None:
        _check_can_give_up(schedule, feed)


def _check_absent(option: str, value: Any, strategy: str) -> None:
    if value is not None:
        raise ConfigError(
            f"{option} and strategy",
            received=(value, strategy),
            expected="one of the two",
            fix=f"{strategy} cannot do it; docs/strategies.md says which strategy does.",
        )


def _check_can_give_up(schedule: Schedule | Policy, feed: FeedOptions) -> None:
    if not feed.eval_splits:
        raise ConfigError(
            "loop early_stopping and feed eval_splits",
            received=(),
            expected="a split to validate on, by which it is judged",
        )
    decides = isinstance(schedule, IncreaseBatchOnPlateau) or (
        isinstance(schedule, GradientNoiseScale) and schedule.mode == "apply"
    )
    if decides:
        raise ConfigError(
            "loop early_stopping and schedule",
            received=str(schedule),
            expected="a schedule whose phases are known beforehand",
            fix="What a policy will decide has no bound by which to judge.",
        )
