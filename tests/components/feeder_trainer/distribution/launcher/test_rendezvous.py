"""Rendezvous of a cluster: the chief publishes work, ``tfx-feeder worker`` runs it."""

import json
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.components.feeder_trainer.distribution.workers import processes as jobs
from tests.components.feeder_trainer.distribution.workers.waiting import wait_for
from tfx_feeder.common.errors import ConfigError, FeederError
from tfx_feeder.components.feeder_trainer.distribution.cluster import (
    VARIABLE,
    ClusterTask,
    ProcessTopology,
)
from tfx_feeder.components.feeder_trainer.distribution.launcher import worker
from tfx_feeder.components.feeder_trainer.distribution.launcher.job_file import write_job
from tfx_feeder.components.feeder_trainer.distribution.launcher.rendezvous import (
    RENDEZVOUS_VARIABLE,
    run_chief,
    run_worker,
)
from tfx_feeder.components.feeder_trainer.distribution.launcher.supervisor import (
    ProcessError,
    ProcessLostError,
)

ROOT = Path(__file__).parents[5]

pytestmark = pytest.mark.multi_worker
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "shared" / "training.job"
    path.parent.mkdir()
    monkeypatch.setenv(RENDEZVOUS_VARIABLE, str(path))
    return path


@pytest.fixture
def start(path: Path) -> Iterator[Start]:
    """Returns a function that starts ``tfx-feeder worker`` like an orchestrator."""
    started = []

    def start(task: ClusterTask, timeout: str = "60s") -> subprocess.Popen[str]:
        program = "from tfx_feeder.pipeline.cli.main import main; main()"
        environment = {VARIABLE: task.to_json(), "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(
            [sys.executable, "-c", program, "worker", "--timeout", timeout],
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def tasks_of(topology: ProcessTopology) -> list[ClusterTask]:
    return [task for task in topology.tasks() if task is not None]


def test_workers_join_and_exit_with_the_work(start: Start, path: Path) -> None:
    chief, *others = tasks_of(ProcessTopology("workers", 3))
    processes = [start(task) for task in others]
    place = path.parent / "meeting"
    place.mkdir()

    result = run_chief(jobs.meet, str(place), chief, log_dir=str(path.parent))

    assert result == ["worker-0", "worker-1", "worker-2"]
    for process in processes:
        output, _ = process.communicate(timeout=30)
        assert process.returncode == 0, output
    assert not path.exists()
    assert (path.parent / "logs" / "worker-1.log").exists()


def test_workers_wait_for_successive_work(start: Start, path: Path) -> None:
    chief, other = tasks_of(ProcessTopology("workers", 2))
    process = start(other)
    for name in ("first", "second"):
        place = path.parent / name
        place.mkdir()
        run_chief(
            jobs.meet, str(place), chief, log_dir=str(path.parent), has_successor=name == "first"
        )

    assert process.wait(30) == 0


@pytest.mark.slow
def test_workers_wait_for_the_restart_of_a_killed_chief(
    start: Start, path: Path, tmp_path: Path
) -> None:
    chief, other = tasks_of(ProcessTopology("workers", 2))
    process = start(other)
    first = multiprocessing.get_context("spawn").Process(
        target=jobs.run_chief_and_stay, args=(str(tmp_path), chief)
    )
    first.start()
    wait_for(lambda: len(list(tmp_path.glob("*.stays"))) == 2)
    first.kill()
    first.join()
    assert path.exists()

    assert run_chief(jobs.meet, str(tmp_path), chief, log_dir=str(tmp_path)) == [
        "worker-0",
        "worker-1",
    ]

    assert process.wait(30) == 0


def test_workers_wait_after_a_failed_attempt(start: Start, path: Path, tmp_path: Path) -> None:
    chief, other = tasks_of(ProcessTopology("workers", 2))
    process = start(other)
    with pytest.raises(ProcessLostError, match="Start the Trainer again"):
        run_chief(jobs.lose_chief, str(tmp_path), chief, log_dir=str(tmp_path))
    assert not path.exists()

    run_chief(jobs.meet, str(tmp_path), chief, log_dir=str(tmp_path))

    assert process.wait(30) == 0


def test_an_exception_in_a_worker_is_reported_by_that_worker(
    start: Start, path: Path, tmp_path: Path
) -> None:
    chief, other = tasks_of(ProcessTopology("workers", 2))
    process = start(other)
    thread = threading.Thread(
        target=lambda: run_chief(
            jobs.fail_beside_chief, str(tmp_path), chief, log_dir=str(tmp_path)
        )
    )
    thread.start()

    output, _ = process.communicate(timeout=60)
    (tmp_path / "seen").touch()
    thread.join()

    assert process.returncode == 1
    assert "KeyError: 'no such thing'" in output


def test_failed_work_is_not_retried(path: Path, tmp_path: Path) -> None:
    _, other = tasks_of(ProcessTopology("workers", 2))
    call = worker.WorkItem.from_function(jobs.fail, "")
    write_job(path, call)
    with pytest.raises(ProcessError, match="no such thing"):
        run_worker(other, path, timeout_s=30, log_dir=tmp_path)

    with pytest.raises(FeederError, match="published no work"):
        run_worker(other, path, timeout_s=0.5, log_dir=tmp_path)


def test_an_unreachable_chief_is_named(path: Path, tmp_path: Path) -> None:
    _, other = tasks_of(ProcessTopology("workers", 2))
    write_job(path, worker.WorkItem.from_function(jobs.stay, str(tmp_path)))

    with pytest.raises(FeederError, match=f"not reachable at {other.trainers[0]}"):
        run_worker(other, path, timeout_s=1, log_dir=tmp_path)


def test_an_invalid_rendezvous_file_is_rejected(path: Path, tmp_path: Path) -> None:
    path.write_text(json.dumps("work"))

    with pytest.raises(ConfigError, match=RENDEZVOUS_VARIABLE):
        run_worker(tasks_of(ProcessTopology("workers", 2))[1], path, timeout_s=1, log_dir=tmp_path)


def test_run_chief_requires_the_chief_and_a_rendezvous_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chief, other = tasks_of(ProcessTopology("workers", 2))
    with pytest.raises(ConfigError, match="tfx-feeder worker"):
        run_chief(jobs.fail, "", other, log_dir="")

    monkeypatch.delenv(RENDEZVOUS_VARIABLE, raising=False)
    with pytest.raises(ConfigError, match=RENDEZVOUS_VARIABLE):
        run_chief(jobs.fail, "", chief, log_dir="")


@pytest.mark.slow
def test_servers_run_until_the_chief_is_done(start: Start, path: Path) -> None:
    chief, *others = tasks_of(ProcessTopology("parameter_servers", 1))
    processes = [start(task) for task in others]

    assert run_chief(jobs.meet_servers, "", chief, log_dir=str(path.parent)) == len(others)

    for process in processes:
        output, _ = process.communicate(timeout=30)
        assert process.returncode == 0, output
