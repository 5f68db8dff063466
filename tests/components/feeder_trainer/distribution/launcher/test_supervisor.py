"""Supervisor of training processes: tasks, exits, and restarts."""

import logging
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from tests.components.feeder_trainer.distribution.workers import processes as jobs
from tests.components.feeder_trainer.distribution.workers.waiting import wait_for
from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.cluster import ProcessTopology
from tfx_feeder.components.feeder_trainer.distribution.launcher.launch import num_workers
from tfx_feeder.components.feeder_trainer.distribution.launcher.supervisor import (
    ProcessError,
    launch_processes,
)

pytestmark = pytest.mark.multi_worker
TWO_WORKERS = ProcessTopology("workers", 2)


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()


@pytest.mark.parametrize(
    ("topology", "expected"),
    [
        (ProcessTopology("subprocess"), ("alone", 1)),
        (ProcessTopology("workers", 3), ("worker-0", 3)),
    ],
    ids=["subprocess", "workers"],
)
def test_processes_receive_their_tasks_and_the_chief_returns_the_result(
    topology: ProcessTopology, expected: tuple[str, int], tmp_path: Path
) -> None:
    ran = launch_processes(jobs.positions, str(tmp_path), topology, log_dir=tmp_path / "logs")

    assert ran.result == expected
    assert not ran.failures
    assert len(list((tmp_path / "logs").iterdir())) == topology.workers


def test_a_killed_worker_restarts_all(tmp_path: Path) -> None:
    ran = launch_processes(jobs.die_once, str(tmp_path), TWO_WORKERS, log_dir=tmp_path)

    assert ran.result == "done"
    assert len(ran.failures) == 1
    assert "worker-1 was killed by SIGKILL" in ran.failures[0]


def test_a_lost_peer_restarts_all(tmp_path: Path) -> None:
    ran = launch_processes(
        jobs.lose_peer, str(tmp_path), ProcessTopology("subprocess"), log_dir=tmp_path
    )

    assert ran.result == "done"
    assert len(ran.failures) == 1


def test_too_many_failures_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match="failed 2 times; the limit is 1 restarts") as caught:
        launch_processes(
            jobs.die, str(tmp_path), ProcessTopology("subprocess"), log_dir=tmp_path, restarts=1
        )

    assert str(tmp_path / "process.log") in str(caught.value)


def test_an_error_of_the_suite_is_raised_unchanged(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="batch_size") as caught:
        launch_processes(jobs.refuse, "", TWO_WORKERS, log_dir=tmp_path)

    assert (caught.value.received, caught.value.fix) == (0, "Raise it.")


def test_any_other_error_shows_the_log(tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match="KeyError: 'no such thing'") as caught:
        launch_processes(jobs.fail, "", TWO_WORKERS, log_dir=tmp_path)

    assert str(tmp_path) in str(caught.value)


def test_workers_may_restart_with_one_fewer(tmp_path: Path) -> None:
    topology = ProcessTopology("workers", 3)

    ran = launch_processes(
        jobs.count_workers, str(tmp_path), topology, log_dir=tmp_path, on_failure="fewer"
    )

    assert ran.result == 2
    assert "worker-2 was killed by SIGKILL" in ran.failures[0]


def test_a_port_in_use_is_replaced(tmp_path: Path) -> None:
    ran = launch_processes(
        jobs.find_port_taken, str(tmp_path), TWO_WORKERS, log_dir=tmp_path, restarts=0
    )

    assert ran.result != (tmp_path / "first").read_text()
    assert not ran.failures


def test_an_exit_without_a_result_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match="process exited without a result"):
        launch_processes(jobs.leave, "", ProcessTopology("subprocess"), log_dir=tmp_path)


def test_an_error_after_the_result_does_not_hide_it(tmp_path: Path) -> None:
    assert (
        launch_processes(jobs.answer_then_refuse, "", TWO_WORKERS, log_dir=tmp_path).result
        == "done"
    )


def test_subprocesses_of_a_killed_process_are_ended(tmp_path: Path) -> None:
    with pytest.raises(ProcessError):
        launch_processes(
            jobs.leave_child,
            str(tmp_path),
            ProcessTopology("subprocess"),
            log_dir=tmp_path,
            restarts=0,
        )

    (path,) = tmp_path.glob("pid-*")
    wait_for(lambda: is_gone(int(path.name.removeprefix("pid-"))))


@pytest.mark.slow
def test_a_killed_worker_of_parameter_servers_restarts_alone(tmp_path: Path) -> None:
    ran = launch_processes(
        jobs.lose_worker, "", ProcessTopology("parameter_servers", 2), log_dir=tmp_path
    )

    assert ran.result == (True, True)
    assert len(ran.failures) == 1
    assert ran.failures[0].startswith("worker-1 was killed by SIGKILL")


@pytest.mark.slow
def test_a_killed_parameter_server_restarts_all(tmp_path: Path) -> None:
    ran = launch_processes(
        jobs.lose_server, str(tmp_path), ProcessTopology("parameter_servers", 1), log_dir=tmp_path
    )

    assert ran.result == "done"
    assert len(ran.failures) == 1
    assert ran.failures[0].startswith("ps-0 was killed by SIGKILL")


def test_log_records_of_the_chief_are_forwarded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="tfx_feeder"):
        launch_processes(jobs.log, "", TWO_WORKERS, log_dir=tmp_path)

    (record,) = caplog.records
    assert record.getMessage() == "half way"
    assert record.progress == {"half": 0.5}


def test_all_records_are_forwarded_before_the_launch_returns(tmp_path: Path) -> None:
    numbers = []

    class Slow(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            time.sleep(0.02)  # The chief finishes long before this handler.
            numbers.append(int(record.getMessage().split()[0]))

    logger, handler = logging.getLogger("tfx_feeder.progress"), Slow()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        launch_processes(jobs.log_much, "", ProcessTopology("subprocess"), log_dir=tmp_path)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)

    assert numbers == list(range(100))


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_children_end_with_their_parent(end: signal.Signals, tmp_path: Path) -> None:
    parent = multiprocessing.get_context("spawn").Process(target=jobs.parent, args=(str(tmp_path),))
    parent.start()
    wait_for(lambda: len(list(tmp_path.glob("pid-*"))) == 2)
    children = [int(path.name.removeprefix("pid-")) for path in tmp_path.glob("pid-*")]

    os.kill(parent.pid, end)
    parent.join()

    wait_for(lambda: all(is_gone(pid) for pid in children))


def test_the_number_of_workers_is_parsed() -> None:
    assert num_workers("local:3") == 3


def test_the_root_cause_of_a_failure_is_raised(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="batch_size"):
        launch_processes(jobs.refuse_late, "", TWO_WORKERS, log_dir=tmp_path)
