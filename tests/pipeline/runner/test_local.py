"""Runs that are killed, terminated, or started twice, in real processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.ownership import PipelineLock
from tfx_feeder.pipeline.runner.launch import BUSY, INTERRUPTED

pytestmark = pytest.mark.slow

STARTED: list[subprocess.Popen] = []
_RUN = """
import signal
from tfx_feeder.pipeline.runner.launch import RunRequest, run_with_logging
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # The tests may run under nohup.
sys.exit(run_with_logging(RunRequest(sys.argv[2], Path(sys.argv[1])), work="waiting_run"))
"""


_SLOW_TO_CLOSE = """
import time
import tfx_feeder.pipeline.runner.local as local
def close_run(*_):
    Path(sys.argv[1], "closing").touch()
    time.sleep(99)
local.close_run = close_run
"""


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    yield
    while STARTED:
        with STARTED.pop() as process:
            process.kill()


def start(root: Path, pipeline: str = "p", *, before: str = "") -> subprocess.Popen:
    path = os.pathsep.join([str(Path(__file__).parent / "waiting"), *sys.path])
    words = (str(root), pipeline)
    process = subprocess.Popen(
        [sys.executable, "-c", f"import sys\nfrom pathlib import Path{before}{_RUN}", *words],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    STARTED.append(process)
    return process


def start_waiting(root: Path, pipeline: str = "p", *, before: str = "") -> subprocess.Popen:
    """Starts a run and returns when its component is running."""
    process = start(root, pipeline, before=before)
    while not (root / f"waiting-{process.pid}").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    return process


def states(root: Path, pipeline: str = "p") -> list[str]:
    """Returns the states of all executions, oldest run first."""
    runs = Lineage.open(root, pipeline).runs()[::-1]
    return [execution.state for run in runs for execution in run.executions]


def test_a_second_run_is_refused_by_a_line_that_names_the_first(tmp_path):
    first = start_waiting(tmp_path)
    second = start(tmp_path)
    said, _ = second.communicate(timeout=120)
    assert second.returncode == BUSY
    assert said.splitlines()[-1].startswith(f"Refused: `local_runner.py` (process {first.pid} on ")
    assert states(tmp_path) == ["RUNNING"]

    # Another pipeline of the root is another matter.
    other = start_waiting(tmp_path, "other")
    (tmp_path / "go").touch()
    for process, pipeline in ((first, "p"), (other, "other")):
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 0, said
        # Each reports its own run, although both ran at once on the same store.
        assert f"run {Lineage.open(tmp_path, pipeline).run_ids()[-1]}" in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_closes_what_is_open(tmp_path, number):
    process = start_waiting(tmp_path)
    process.send_signal(number)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == INTERRUPTED
    assert "Interrupted. Run the same command again to resume." in said
    # TFX records a KeyboardInterrupt in an executor as a failure, or the runner cancels it.
    assert states(tmp_path)[0] in ("CANCELED", "FAILED")


def test_a_second_interrupt_leaves_the_run_to_the_next(tmp_path):
    process = start_waiting(tmp_path, before=_SLOW_TO_CLOSE)
    process.send_signal(signal.SIGINT)
    while not (tmp_path / "closing").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == INTERRUPTED, said
    run_ids = Lineage.open(tmp_path, "p").run_ids()
    assert PipelineLock(tmp_path, "p").abandoned_runs() == run_ids


def test_the_next_run_closes_what_a_killed_one_left_open(tmp_path):
    killed = start_waiting(tmp_path)
    killed.kill()
    killed.communicate()
    assert states(tmp_path) == ["RUNNING"]
    (tmp_path / "go").touch()
    said, _ = (following := start(tmp_path)).communicate(timeout=120)
    assert following.returncode == 0, said
    assert states(tmp_path) == ["CANCELED", "COMPLETE"]
