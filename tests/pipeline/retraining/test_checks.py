"""Checks of the daemon: errors are lines, and many in a row end it."""

import shutil
import signal
from datetime import datetime, timezone

import pytest

from tfx_feeder.common.errors import ConfigError, DataError
from tfx_feeder.pipeline.metadata.store import create_store
from tfx_feeder.pipeline.retraining import run_process
from tfx_feeder.pipeline.retraining.controller import RetrainingController
from tfx_feeder.pipeline.retraining.daemon import RetrainingDaemon
from tfx_feeder.pipeline.retraining.policy import RetrainingPolicy
from tfx_feeder.pipeline.retraining.snapshot import LiveModel, Snapshot
from tfx_feeder.pipeline.retraining.triggers import DataDrift, NewSpan, OnDemand, Trigger
from tfx_feeder.pipeline.run_plan import RunPlan
from tfx_feeder.pipeline.runner.launch import BUSY, DONE, FAILED, INTERRUPTED, RunRequest


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

    def call(trigger: Trigger) -> tuple[int, list[str]]:
        lines: list[str] = []
        request = RunRequest(str(folder), tmp_path / "root")
        policy = RetrainingPolicy((trigger,))
        controller = RetrainingController(request, policy, quiet_period_s=-1)
        daemon = RetrainingDaemon(controller, 0.001, lines.append)
        if isinstance(trigger, Broken):
            trigger.daemon = daemon
        return daemon.run(), lines

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


def test_retrainings_that_do_not_start_end_the_daemon_as_well(watch, tmp_path, monkeypatch):
    def start(*_):
        raise MemoryError

    monkeypatch.setattr(run_process, "start", start)
    (tmp_path / "sheets" / "span-1" / "images.npz").write_bytes(b"1")
    status, lines = watch(OnDemand("now"))
    assert status == FAILED
    assert lines[:2] == ["Retraining: by hand: now", "Cannot decide: MemoryError: no message"]
    assert lines[-1] == "Stopped after 10 errors in a row."


def test_a_store_that_disappears_is_no_first_run(tmp_path):
    (tmp_path / "sheets" / "span-1").mkdir(parents=True)
    (tmp_path / "sheets" / "span-1" / "images.npz").write_bytes(b"1")
    root = tmp_path / "root"
    request = RunRequest(str(tmp_path / "sheets"), root)
    controller = RetrainingController(request, RetrainingPolicy(), quiet_period_s=-1)
    assert controller.decide().plan is not None
    root.mkdir(exist_ok=True)
    create_store(root / "metadata.sqlite")
    assert controller.decide().plan is not None
    root.rename(tmp_path / "unmounted")
    with pytest.raises(ConfigError, match="expected the store that was there before"):
        controller.decide()
    shutil.rmtree(root, ignore_errors=True)  # The name of the pipeline is kept below the root.
    (tmp_path / "unmounted").rename(root)
    assert controller.decide().plan is not None


@pytest.mark.parametrize(("status", "tries"), [(BUSY, 2), (INTERRUPTED, 2), (FAILED, 1)])
def test_statistics_that_another_process_prevented_are_computed_later(
    tmp_path, monkeypatch, status, tries
):
    started = []
    snapshot = Snapshot(datetime.now(timezone.utc), (1,), live=LiveModel(1, datetime.now()))
    monkeypatch.setattr(RetrainingController, "_snapshot", lambda *_: snapshot)
    monkeypatch.setattr(
        RetrainingController, "_run", lambda _, work, *__: started.append(work) or status
    )
    (tmp_path / "sheets").mkdir()
    request = RunRequest(str(tmp_path / "sheets"), tmp_path)
    controller = RetrainingController(request, RetrainingPolicy((DataDrift(),)))
    controller.collect_statistics()
    controller.collect_statistics()
    assert len(started) == tries


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


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_daemon_that_cannot_print_ends(tmp_path):
    def echo(_):
        raise BrokenPipeError

    request = RunRequest(str(tmp_path / "missing"), tmp_path)
    daemon = RetrainingDaemon(RetrainingController(request, RetrainingPolicy()), 0.001, echo)
    with pytest.raises(BrokenPipeError):
        daemon.run()


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
