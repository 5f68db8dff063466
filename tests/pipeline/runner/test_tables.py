"""Tables of strategies and candidates."""

import dataclasses
import io

import pytest
from rich.console import Console, RenderableType

from tfx_feeder.components.feeder_trainer.distribution.strategy_info import STRATEGIES
from tfx_feeder.components.feeder_trainer.schedules.schedule import Schedule
from tfx_feeder.components.feeder_trainer.schedules.time_model import StepProfile, StepTime
from tfx_feeder.components.feeder_trainer.strategy_selection.budget import Budget
from tfx_feeder.components.feeder_trainer.strategy_selection.decision import (
    StrategyCandidate,
    profile_and_select,
)
from tfx_feeder.pipeline.runner.tables import candidates_table, strategies_table
from tfx_feeder.schemas.training_history import CandidateRecord


def text_of(renderable: RenderableType) -> str:
    screen = io.StringIO()
    Console(file=screen, width=160).print(renderable)
    return screen.getvalue()


@pytest.fixture
def rows() -> tuple[CandidateRecord, ...]:
    probes = {
        "sequential": StepProfile(1.0, {32: StepTime(0.01, 0.0, 9), 64: StepTime(0.02, 0.0, 9)}),
        "mirrored": StepProfile(5.0, {32: StepTime(0.006, 0.0, 9), 64: StepTime(0.012, 0.0, 9)}),
    }
    return profile_and_select(
        [
            StrategyCandidate("sequential", 1, ("CPU:0",)),
            StrategyCandidate("mirrored", 2, ("CPU:0",)),
            StrategyCandidate(
                "multi_worker", 1, (), status="cannot run", reason="no [cluster] is named"
            ),
        ],
        list(Schedule.from_value("0.01:32x10, 0.01:64x10 @200").epoch_specs(50_000)),
        Budget(50.0),
        lambda candidate: probes[candidate.strategy],
        lambda: 0.0,
    ).to_rows()


def test_a_row_shows_devices_step_prediction_cost_status_and_reason(rows) -> None:
    lines = [line.strip() for line in text_of(candidates_table(rows)).splitlines()]
    sequential = next(line for line in lines if line.startswith("sequential"))
    mirrored = next(line for line in lines if line.startswith("mirrored"))

    for part in ("1 CPU", "10 ms at 32", "1m1s", "0.0169", "too slow"):
        assert part in sequential
    for part in ("2 on 1 CPU", "6 ms at 32", "41s", "chosen"):
        assert part in mirrored
    assert any("20 ms at 64" in line and "58s – 1m4s" in line for line in lines)
    assert "sequential: up to 1m4s of 50s left, 14s too long, cost 0.0169" in lines
    assert "multi_worker: no [cluster] is named" in lines
    heading = next(line for line in lines if line.startswith("strategy"))
    assert "status" in heading
    assert "actual" not in heading


def test_the_actual_duration_is_shown_beside_the_prediction(rows) -> None:
    done = [
        dataclasses.replace(row, actual_s=45.1) if row.verdict == "chosen" else row for row in rows
    ]
    text = text_of(candidates_table(done))

    assert "actual" in text
    assert "45.1s" in text
    assert "1.10x predicted" in text


def test_every_strategy_is_listed() -> None:
    text = text_of(strategies_table(STRATEGIES.values()))

    assert all(name in text for name in STRATEGIES)
