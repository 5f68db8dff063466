"""Progress display based on log records."""

import io
import logging

import pytest
from rich.console import Console

from tfx_feeder.components.feeder_trainer.schedules.schedule import Schedule
from tfx_feeder.components.feeder_trainer.schedules.time_model import StepProfile, StepTime
from tfx_feeder.components.feeder_trainer.strategy_selection.budget import Budget
from tfx_feeder.components.feeder_trainer.strategy_selection.decision import (
    StrategyCandidate,
    profile_and_select,
)
from tfx_feeder.components.feeder_trainer.training.progress import (
    Progress,
    report_progress,
    report_selection,
)
from tfx_feeder.pipeline.runner.progress import RunProgress

ABSL = logging.getLogger("absl")


def _progress(step):
    return Progress(0, 3, 0, step, 40, 0.01, 32, 1234.0, {"loss": 0.5})


def _follow(events, *, terminal):
    screen = io.StringIO()
    level = ABSL.level
    ABSL.setLevel(logging.INFO)
    try:
        with RunProgress(Console(file=screen, force_terminal=terminal, width=200)) as progress:
            events()
        return progress, screen.getvalue()
    finally:
        ABSL.setLevel(level)


def _one_of_each():
    ABSL.info("Component %s is running.", "Transform")
    ABSL.info("A cached execution %d is used.", 3)
    ABSL.info("Component %s is finished.", "Transform")
    ABSL.info("Component %s is running.", "FeederTrainer")
    report_progress(_progress(20))
    report_progress(_progress(40))


def test_components_are_told_as_run_or_cached():
    progress, text = _follow(_one_of_each, terminal=False)
    assert [node.name for node in progress.nodes] == ["Transform", "FeederTrainer"]
    assert "Transform           cached" in text
    assert progress.current == "FeederTrainer"


def test_plain_output_has_a_line_per_epoch_not_per_step():
    _, text = _follow(_one_of_each, terminal=False)
    assert "epoch 1/3 step 40/40 lr 0.01 batch 32 1,234 examples/s loss 0.5000" in text
    assert "step 20/40" not in text
    assert "\x1b" not in text


def test_terminal_shows_the_running_component_with_its_epoch():
    _, text = _follow(_one_of_each, terminal=True)
    assert "FeederTrainer" in text
    assert "epoch 1/3 step 40/40" in text


def test_nothing_runs_between_components():
    def one():
        ABSL.info("Component %s is running.", "Pusher")
        ABSL.info("Component %s is finished.", "Pusher")

    progress, _ = _follow(one, terminal=False)
    assert progress.current is None


def _choose():
    ABSL.info("Component %s is running.", "FeederTrainer")
    choice = profile_and_select(
        [StrategyCandidate("sequential", 1, ("CPU:0",))],
        list(Schedule.from_value("0.01:32x10 @200").epoch_specs(50_000)),
        Budget(10.0),
        lambda candidate: StepProfile(1.0, {32: StepTime(0.01, 0.0, 9)}),
        lambda: 0.0,
    )
    report_selection(choice)


@pytest.mark.parametrize("terminal", [False, True])
def test_the_choice_of_a_strategy_is_shown_with_its_warning(terminal):
    _, text = _follow(_choose, terminal=terminal)
    assert "10 ms at 32" in text
    assert "chosen" in text
    assert "Warning:" in text
    assert "may miss the time to train of 10s by 12s" in text
