"""State that survives a crash."""

import subprocess
import sys
from datetime import timedelta

import pytest

from tfx_feeder.pipeline.retraining.state import BusyError, StateFile
from tfx_feeder.pipeline.run_plan import RunPlan

PLAN = RunPlan(("new span 1",), 1)


@pytest.fixture
def state(tmp_path):
    return StateFile(tmp_path, "p")


HOLDER = """
import pathlib, signal, sys
from tfx_feeder.pipeline.run_plan import RunPlan
from tfx_feeder.pipeline.retraining.state import StateFile
state = StateFile(pathlib.Path(sys.argv[1]), "p")
with state.lock():
    state.begin(RunPlan(("new span 1",), 1))
    print("held", flush=True)
    signal.pause()
"""


def test_a_fresh_state_has_nothing_to_go_on_with(state):
    assert state.pending() is None
    assert state.busy() == ""


def test_a_killed_process_leaves_its_attempt_and_frees_the_lock(state, tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        assert "is retraining this pipeline" in state.busy()
        with pytest.raises(BusyError), state.lock():
            pass
        process.kill()
    assert state.busy() == ""
    assert state.pending().plan == PLAN


def test_pauses_grow_with_every_attempt_at_the_same(state):
    pauses = []
    with state.lock():
        for _ in range(12):
            state.begin(PLAN)
            attempt = state.pending()
            pauses.append(attempt.wait_s(attempt.began))
    assert pauses[:4] == [60, 120, 240, 480]
    assert pauses[-1] == 6 * 3600
    assert attempt.wait_s(attempt.began + timedelta(hours=7)) == 0


def test_another_plan_begins_to_count_afresh(state):
    with state.lock():
        state.begin(PLAN)
        state.begin(RunPlan(("new span 2",), 2))
        assert state.pending().count == 1
        state.finish()
        assert state.pending() is None


def test_an_interrupted_attempt_goes_on_at_once(state):
    with state.lock():
        state.begin(PLAN)
        state.mark_interrupted()
        attempt = state.pending()
        assert attempt.plan == PLAN
        assert attempt.wait_s(attempt.began) == 0
