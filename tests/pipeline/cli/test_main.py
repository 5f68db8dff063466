"""The command line in a subprocess."""

import subprocess
import sys
from pathlib import Path

import pytest

from tfx_feeder import __version__


def tfx_feeder(*arguments: str, before: str = "pass") -> subprocess.CompletedProcess[str]:
    code = (
        f"import sys; {before}; from tfx_feeder.pipeline.cli.main import main; main({arguments!r})"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


HEAVY = ("tensorflow", "tfx", "keras", "apache_beam", "ml_metadata")
BLOCK = f"sys.modules.update(dict.fromkeys({HEAVY}))"  # importing one raises then
ROOT = Path(__file__).resolve().parents[3]
RUNNER = (
    f"import sys; {BLOCK}; sys.path.insert(0, {str(ROOT)!r}); from local_runner import main; main()"
)


def test_help_lists_the_commands_without_importing_them() -> None:
    done = tfx_feeder("--help", before=BLOCK)
    assert done.returncode == 0
    assert "doctor" in done.stdout


@pytest.mark.parametrize("command", ["doctor", "schedule", "strategy", "worker"])
def test_light_commands_import_nothing_heavy(command: str) -> None:
    done = tfx_feeder(command, "--help", before=BLOCK)
    assert done.returncode == 0, done.stderr


def test_an_unknown_command_is_rejected_by_name() -> None:
    done = tfx_feeder("heal")
    assert done.returncode == 2
    assert "heal" in done.stderr


def test_version_is_shown() -> None:
    assert __version__ in tfx_feeder("--version").stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--schedule", "nonsense"], "schedule: expected a learning rate"),
        (["--schedule", "0.01:32x3", "--full"], "schedule: expected either --schedule or --full"),
        (["--strategy", "multi_worker"], "'local:2' starts two workers"),
    ],
)
def test_wrong_options_of_a_run_are_usage_errors(options: list[str], words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert words in " ".join(done.stderr.split())
