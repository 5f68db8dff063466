"""Runs of ``local_runner.py``, each in a process of its own."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Finished:
    """A run that is over.

    Args:
        status: Exit status.
        text: Everything on the screen, blanks squeezed.
        root: Its ``--root``.
        versions: What was pushed until then, of all pipelines; the oldest first.
    """

    status: int
    text: str
    root: Path
    versions: tuple[str, ...]

    def states(self) -> dict[str, str]:
        """Returns component to ``complete`` or ``cached`` as the summary's table says."""
        return dict(re.findall(r"^(\w+) (complete|cached)\b", self.text, re.MULTILINE))

    def log(self) -> str:
        """Returns the newest log."""
        return max(self.root.glob("logs/*.log")).read_text()


def start(root: Path, *options: str, env: Mapping[str, str] | None = None) -> subprocess.Popen:
    """Starts a run without waiting for it."""
    command = [sys.executable, str(ROOT / "local_runner.py"), "--root", str(root), *options]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env={**os.environ, **(env or {})},
    )


def run(root: Path, *options: str, env: Mapping[str, str] | None = None) -> Finished:
    """Runs to the end."""
    return finish(start(root, *options, env=env), root)


def finish(process: subprocess.Popen, root: Path) -> Finished:
    """Waits for a run."""
    out, _ = process.communicate(timeout=600)
    lines = (" ".join(line.split()) for line in out.splitlines())
    versions = sorted(path.name for path in root.glob("serving/*/*"))
    return Finished(process.returncode, "\n".join(lines), root, tuple(versions))


def tfx_feeder(*arguments: str) -> subprocess.Popen:
    """Starts ``tfx-feeder`` without waiting for it."""
    code = "from tfx_feeder.pipeline.cli.main import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def roll_back(root: Path) -> Finished:
    """Serves the first version again."""
    first = min(path.name for path in root.glob("serving/*/*"))
    reason = ("--reason", "zeros look wrong")
    return finish(tfx_feeder("rollback", first, *reason, "--store", str(root)), root)


def interrupt_after(process: subprocess.Popen, root: Path, text: str) -> Finished:
    """Presses Ctrl-C as soon as a line on the screen contains a text."""
    for line in process.stdout:
        if text in line:
            process.send_signal(signal.SIGINT)
            return finish(process, root)
    raise AssertionError(f"The run ended without saying {text!r}")


@pytest.fixture(scope="session")
def local_runner():
    """Runs to the end: ``local_runner(root, *options, env=None) -> Finished``."""
    return run


@dataclass(frozen=True, slots=True)
class Story:
    """Runs on the digits, one after another, below one root."""

    refused: Finished
    interrupted: Finished
    resumed: Finished
    second: Finished
    repeated: Finished
    rolled_back: Finished
    after_rollback: Finished


@pytest.fixture(scope="session")
def story(tmp_path_factory) -> Story:
    root = tmp_path_factory.mktemp("digits")
    return Story(
        refused=run(root, "--schedule", "0.000001:16x1 @1"),
        interrupted=interrupt_after(start(root, "--span", "1"), root, "epoch 2/"),
        resumed=run(root, "--span", "1"),
        second=run(root),
        repeated=run(root, "--span", "2"),
        rolled_back=roll_back(root),
        after_rollback=run(root, "--span", "2"),
    )
