"""After a power cut at any moment, the same command ends well, and what is served is intact."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.power_cut import Disk, disk

ROOT = Path(__file__).resolve().parents[3]
SMALL = Path(__file__).with_name("small_runs.py")
SEED = 20261128
CLI = "from tfx_feeder.pipeline.cli.main import main; main()"
NOT_BLESSED = 3
CUTS = int(os.environ.get("TFX_FEEDER_TEST_POWER_CUTS", "30"))
"""Power cuts of the long test."""
LONG_SCHEDULE = "0.01:32x12, 0.001:64x8"


def _environment(machine: Disk) -> dict[str, str]:
    cache = machine.folder / "cache"
    return {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(cache)}


def _start(machine: Disk, *words: str, log: Path) -> subprocess.Popen:
    return subprocess.Popen(
        machine.command(sys.executable, *words),
        stdout=log.open("wb"),
        stderr=subprocess.STDOUT,
        cwd=ROOT,
        env=_environment(machine),
        start_new_session=True,
    )


def _cut(machine: Disk, process: subprocess.Popen) -> None:
    """Cuts the power, ends what ran on the machine, and starts it again."""
    machine.cut()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(60)
    machine.stop()
    machine.start()


def _finish(machine: Disk, *words: str, log: Path, timeout_s: float) -> int:
    process = _start(machine, *words, log=log)
    try:
        return process.wait(timeout_s)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(60)


def _verify(machine: Disk, log: Path) -> None:
    store = ("--store", str(machine.folder / "runs"))
    status = _finish(machine, "-c", CLI, "verify", "--all", *store, log=log, timeout_s=120)
    assert status == 0, log.read_text()


@pytest.mark.slow
def test_small_pipelines_survive_power_cuts(tmp_path):
    moments, root, log = random.Random(SEED), "runs", tmp_path / "log"
    with disk() as machine:
        (machine.folder / root).mkdir()
        for _ in range(3):
            process = _start(machine, str(SMALL), str(machine.folder / root), "0", log=log)
            deadline = time.monotonic() + 120
            while b"ready" not in log.read_bytes() and time.monotonic() < deadline:
                time.sleep(0.1)
            time.sleep(moments.uniform(0.2, 4))
            _cut(machine, process)
            small = (str(SMALL), str(machine.folder / root), "3")
            assert _finish(machine, *small, log=log, timeout_s=120) == 0, log.read_text()
            _verify(machine, log)


@pytest.mark.slow
@pytest.mark.long
def test_reference_pipeline_and_retraining_survive_power_cuts(tmp_path):
    moments, log = random.Random(SEED), tmp_path / "log"
    with disk("4G") as machine:
        root = ("--root", str(machine.folder / "runs"))
        commands = {
            "run": ("local_runner.py", *root, "--span", "1"),
            "next span": ("local_runner.py", *root),
            "long": ("local_runner.py", *root, "--no-cache", "--schedule", LONG_SCHEDULE),
            "retraining": ("-c", CLI, "retrain", *root, "--once", "--reason", "a test"),
        }
        duration_s = dict.fromkeys(commands, 75.0)
        for count in range(CUTS):
            name = list(commands)[count % len(commands)]
            process = _start(machine, *commands[name], log=log)
            after_s = moments.uniform(0.1, 1.1) * duration_s[name]
            time.sleep(after_s)
            ended = process.poll()
            _cut(machine, process) if ended is None else machine.cut_and_start()
            began = time.monotonic()
            status = _finish(machine, *commands[name], log=log, timeout_s=900)
            print(f"{count} {name}: cut after {after_s:.0f} s, status {status}", flush=True)
            assert status in (0, NOT_BLESSED), log.read_text()
            duration_s[name] = (duration_s[name] + time.monotonic() - began) / 2
            _verify(machine, log)
