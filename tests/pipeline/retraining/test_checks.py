"""Checks of the daemon: errors are lines, and many in a row end it."""

import signal

import pytest

from tfx_feeder.common.errors import DataError
from tfx_feeder.pipeline.retraining import run_process
from tfx_feeder.pipeline.retraining.controller import RetrainingController
from tfx_feeder.pipeline.retraining.daemon import RetrainingDaemon
from tfx_feeder.pipeline.retraining.policy import RetrainingPolicy
from tfx_feeder.pipeline.retraining.triggers import NewSpan
from tfx_feeder.pipeline.run_plan import RunPlan
from tfx_feeder.pipeline.runner.launch import DONE, FAILED, RunRequest


class Broken:
    """A trigger that fails with each of some errors, and then ends the daemon that asks it."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = iter(errors)
        self.daemon = None

    def evaluate(self, snapshot):
        for error in self._errors:
            raise error
        self.daemon._stop.set()
        return NewSpan().evaluate(snapshot)


@pytest.fixture
def watch(tmp_path):
    """Returns a function that runs a daemon with a trigger; gives its status and lines."""
    folder = tmp_path / "sheets"
    (folder / "span-1").mkdir(parents=True)

    def call(trigger: Broken) -> tuple[int, list[str]]:
        lines: list[str] = []
        request = RunRequest(str(folder), tmp_path / "root")
        controller = RetrainingController(request, RetrainingPolicy((trigger,)))
        trigger.daemon = RetrainingDaemon(controller, 0.001, lines.append)
        return trigger.daemon.run(), lines

    return call


@pytest.fixture(autouse=True)
def _handlers():
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def test_errors_in_a_row_end_the_daemon_with_a_status_that_restarts_it(watch):
    status, lines = watch(Broken(*[KeyError("x")] * 10))
    assert status == FAILED
    assert lines == ["Cannot decide: KeyError: 'x'", "Stopped after 10 errors in a row."]


def test_single_errors_are_lines(watch):
    # A traceback of many lines is one line as well.
    status, lines = watch(Broken(*[ValueError("a\nb")] * 9, DataError("no data"), OSError("disk")))
    assert status == DONE
    assert lines[:3] == [
        "Cannot decide: ValueError: a",
        "Cannot decide: no data",
        "Cannot decide: OSError: disk",
    ]
    assert lines[-1] == "Stopped."


def test_what_is_expected_to_pass_never_ends_the_daemon(watch):
    status, _ = watch(Broken(*[DataError("no data")] * 30))
    assert status == DONE


def test_a_process_that_does_not_start_leaves_a_controller_that_stops(tmp_path, monkeypatch):
    def start(*_):
        raise MemoryError

    monkeypatch.setattr(run_process, "start", start)
    (tmp_path / "sheets" / "span-1").mkdir(parents=True)
    request = RunRequest(str(tmp_path / "sheets"), tmp_path)
    controller = RetrainingController(request, RetrainingPolicy())
    with pytest.raises(MemoryError):
        controller.retrain(RunPlan(span=1))
    controller.stop()
