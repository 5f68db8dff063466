"""State that survives a crash."""

import os
from datetime import timedelta

import pytest

from tfx_feeder.pipeline.retraining.state import StateFile
from tfx_feeder.pipeline.run_plan import RunPlan

PLAN = RunPlan(("new span 1",), 1)


@pytest.fixture
def state(tmp_path):
    return StateFile(tmp_path, "p")


def test_a_fresh_state_has_nothing_to_go_on_with(state):
    assert state.pending() is None
    assert state.lock.busy() == ""


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"plan": 1}',
        b'{"plan": {"reasons": []}, "count": 1, "began": "2026-01-01"}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_state_is_set_aside_with_one_line(state, tmp_path, caplog, content):
    path = tmp_path / "retrain" / "p.json"
    path.parent.mkdir()
    path.write_bytes(content)
    assert state.pending() is None
    assert state.pending() is None
    assert [record.message for record in caplog.records] == [
        f"The state of the retraining could not be read; set aside as {path.parent}/p.damaged."
    ]
    assert (tmp_path / "retrain" / "p.damaged").read_bytes() == content
    with state.lock.hold("test"):
        state.begin(PLAN)
    assert state.pending().plan == PLAN


def test_a_damaged_state_that_cannot_be_set_aside_is_ignored_as_well(state, tmp_path, monkeypatch):
    def replace(*_):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "retrain").mkdir()
    (tmp_path / "retrain" / "p.json").write_text("{")
    monkeypatch.setattr(os, "replace", replace)
    assert state.pending() is None


def test_a_time_without_a_zone_is_damage(state, tmp_path):
    with state.lock.hold("test"):
        state.begin(PLAN)
    path = tmp_path / "retrain" / "p.json"
    path.write_text(path.read_text().replace("+00:00", ""))
    assert state.pending() is None


def test_pauses_grow_with_every_attempt_at_the_same(state):
    pauses = []
    with state.lock.hold("test"):
        for _ in range(12):
            state.begin(PLAN)
            attempt = state.pending()
            pauses.append(attempt.wait_s(attempt.began))
    assert pauses[:4] == [60, 120, 240, 480]
    assert pauses[-1] == 6 * 3600
    assert attempt.wait_s(attempt.began + timedelta(hours=7)) == 0
    # The clock was a year ahead when the attempt began.
    assert attempt.wait_s(attempt.began - timedelta(days=365)) == 0


def test_another_plan_begins_to_count_afresh(state):
    with state.lock.hold("test"):
        state.begin(PLAN)
        state.begin(RunPlan(("new span 2",), 2))
        assert state.pending().count == 1
        state.finish()
        assert state.pending() is None


def test_an_interrupted_attempt_goes_on_at_once(state):
    with state.lock.hold("test"):
        state.begin(PLAN)
        state.mark_interrupted()
        attempt = state.pending()
        assert attempt.plan == PLAN
        assert attempt.wait_s(attempt.began) == 0
