"""``tfx-feeder retrain --decide``."""

import json
from datetime import datetime, timezone

import pytest
from click.testing import CliRunner

from tfx_feeder.pipeline.cli.main import main
from tfx_feeder.pipeline.retraining import run_process
from tfx_feeder.pipeline.retraining.controller import RetrainingController
from tfx_feeder.pipeline.retraining.snapshot import LiveModel, Snapshot
from tfx_feeder.pipeline.retraining.state import StateFile
from tfx_feeder.pipeline.run_plan import RunPlan, SpanWeight, read_decision
from tfx_feeder.pipeline.runner.launch import INTERRUPTED

DAY = "24h"
SETTLED = "0.000001s"
"""Less than what lies between any two steps of a test."""


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "sheets"
    for span in (1, 2, 3):
        (folder / f"span-{span}").mkdir(parents=True)
        (folder / f"span-{span}" / "images.npz").write_bytes(b"1")
    return folder


@pytest.fixture
def ask(folder, tmp_path):
    """Returns a function that calls ``tfx-feeder retrain`` for a folder of three spans."""

    def call(*arguments: str, status: int) -> str:
        where = ("--data", str(folder), "--root", str(tmp_path / "runs"), "--quiet-period", SETTLED)
        done = CliRunner().invoke(main, ["retrain", *where, *arguments])
        assert done.exit_code == status, done.output
        return done.output

    return call


def test_first_span_is_a_reason(ask, tmp_path):
    output = ask("--decide", status=0)
    assert output == "Retrain: new spans 1, 2, 3\nSpans: 3; from the blessed model\n"
    assert not (tmp_path / "runs").exists()


def test_no_reason_has_an_exit_status_of_its_own(ask):
    assert "No: new spans 1, 2, 3; waiting for 4" in ask("--decide", "--new-spans", "4", status=99)
    assert "No: " in ask("--once", "--new-spans", "4", status=99)


def test_spans_that_are_still_written_to_do_not_count(ask):
    assert "no span has arrived yet" in ask(
        "--decide", "--reason", "x", "--quiet-period", DAY, status=99
    )


def test_decision_in_json_can_be_read_by_other_commands(ask, tmp_path):
    options = ("--reason", "labels mended", "--window", "weighted:0.5", "--scratch-every", "1")
    options = (*options, "--early-stop-after", "4")
    output = ask("--decide", "--json", *options, status=0)
    path = tmp_path / "decision.json"
    path.write_text(output)
    assert json.loads(output)["retrain"] is True
    assert read_decision(path) == RunPlan(
        reasons=("by hand: labels mended",),
        span=3,
        earlier=(SpanWeight(1, 0.25), SpanWeight(2, 0.5)),
        warm_start=False,
        early_stop_after=4,
    )


def test_metrics_of_a_monitor_must_be_numbers(ask, tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text('{"accuracy": "high"}')
    assert "a JSON object with numbers" in ask("--decide", "--metrics", str(path), status=2)


def test_nothing_is_decided_while_another_process_retrains(ask, tmp_path):
    with StateFile(tmp_path / "runs", "sheets").lock.hold("test"):
        assert "No: `test` (process " in ask("--decide", status=99)


def test_a_retraining_that_failed_is_tried_again_later(ask, tmp_path):
    state = StateFile(tmp_path / "runs", "sheets")
    with state.lock.hold("test"):
        state.begin(RunPlan(("new span 3",), 3))
    output = ask("--decide", status=99)
    assert "attempt 2 begins in" in output
    assert "it is: new span 3" in output
    assert "Retrain: by hand: at once" in ask("--decide", "--reason", "at once", status=0)
    with state.lock.hold("test"):
        state.mark_interrupted()
    assert "Retrain: new span 3" in ask("--decide", status=0)


def test_newer_data_take_the_place_of_a_retraining_that_failed(ask, folder, tmp_path):
    state = StateFile(tmp_path / "runs", "sheets")
    with state.lock.hold("test"):
        state.begin(RunPlan(("new span 2",), 2))
    assert "Retrain: new spans 1, 2, 3" in ask("--decide", status=0)


def test_an_interrupt_while_a_span_is_measured_ends_the_command(ask, monkeypatch):
    class Interrupted:
        pid, exitcode = None, INTERRUPTED
        joined = 0

        def join(self):
            self.joined += 1
            if self.joined == 1:
                raise KeyboardInterrupt

    started = []
    monkeypatch.setattr(run_process, "start", lambda *args: started.append(args) or Interrupted())
    now = datetime.now(timezone.utc)
    snapshot = Snapshot(now, (1, 2, 3), live=LiveModel(1, now))
    monkeypatch.setattr(RetrainingController, "_snapshot", lambda *_: snapshot)
    ask("--once", "--reason", "x", "--drift", "0.1", status=INTERRUPTED)
    assert [work for work, *_ in started] == [run_process.collect_statistics]


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--decide", "--once"),
        ("--decide", "--span", "1"),
        ("--watch", ".", "--reason", "x"),
        ("--decide", "--window", "newest"),
        ("--decide", "--budget", "much"),
        ("--decide", "--cron", "now and then"),
        ("--decide", "--performance", "good"),
        ("--decide", "--age", "old"),
        ("--decide", "--early-stop-after", "1"),
    ],
)
def test_wrong_usage_has_its_own_exit_status(ask, arguments):
    assert "Error: " in ask(*arguments, status=2)
