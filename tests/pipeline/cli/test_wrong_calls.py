"""Wrong calls of the commands and runners: one line that names the cause, and the right status."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tests.pipeline.cli.test_compile import FACTORIES
from tfx_feeder.common.errors import ConfigError, DataError
from tfx_feeder.pipeline.cli.errors import TRACEBACK_VARIABLE, ErrorReporting, ErrorReportingGroup
from tfx_feeder.pipeline.cli.main import main
from tfx_feeder.pipeline.runner.launch import FAILED, RunRequest, run_with_logging

ROOT = Path(__file__).resolve().parents[3]
LONG, DIGITS = "x" * 300, "9" * 5000


@pytest.fixture(autouse=True)
def _in_own_folder(tmp_path, monkeypatch):
    (tmp_path / "factories.py").write_text(FACTORIES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "factories", raising=False)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["runs", "--store", LONG], "File name too long"),
        (["runs", "--store", "mysql://[::1"], "store: expected"),
        (["runs", "--store", "mysql://u:secret@[::1"], "store: expected"),
        (["runs", "--store", "ftp://u@h/d"], "store: expected"),
        (["runs", "--store", "\udcff"], "The name is not UTF-8"),
        (["compile", "--factory", "os:getcwd"], "It returned str"),
        (["compile", "--factory", "os:environ"], "environ is not a function"),
        (["compile", "--factory", ".x:y"], "MODULE:FUNCTION"),
        (["compile", "--strategy", "multi_worker", "--cluster", "local:²"], "strategy cluster"),
        (["rollback", "1", "--reason", "x", "--store", "folder.sqlite"], "It is a folder"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else None,
)
def test_wrong_usage_is_one_line_and_status_2(words, expected, tmp_path):
    (tmp_path / "folder.sqlite" / "metadata.sqlite").mkdir(parents=True)
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2, done.output
    [line] = done.stderr.splitlines()
    assert line.startswith("Error: ")
    assert expected in line
    assert "secret" not in line
    assert len(line) < 2_000


@pytest.mark.parametrize("command", ["slices", "why", "lineage", "artifacts", "history", "diff"])
def test_numbers_of_thousands_of_digits_name_nothing(command, ask):
    words = (DIGITS, "1") if command == "diff" else (DIGITS,)
    assert "expected" in ask(command, *words, status=2).stderr


def test_an_age_before_the_epoch_keeps_everything(ask_json):
    assert ask_json("gc", "--older-than", "99999999999d")["files"] == []


def test_a_root_whose_name_is_too_long_is_a_result_of_the_doctor():
    done = CliRunner().invoke(main, ["doctor", "--quick", "--root", LONG])
    assert done.exit_code == 1
    assert "File name too long" in " ".join(done.stdout.split())


def test_a_file_in_place_of_the_logs_is_one_line(tmp_path, capfd):
    (tmp_path / "logs").write_text("")
    assert run_with_logging(RunRequest(data="digits", root=tmp_path)) == FAILED
    [line] = capfd.readouterr().err.splitlines()
    assert "logs" in line


@pytest.mark.parametrize("cut", [0, 1, 40, 120, 200])
@pytest.mark.parametrize("command", ["run-node", "cluster"])
def test_a_damaged_compiled_file_is_wrong_usage(command, cut, tmp_path):
    compiled = CliRunner().invoke(main, ["compile", "--factory", "factories:compiled"])
    assert compiled.exit_code == 0, compiled.output
    text = (tmp_path / "pipeline.json").read_text()
    # The file of the factory lacks the connection.
    (tmp_path / "p.json").write_text(text[: len(text) - cut] if cut else text)
    options = {"run-node": ["--run-id", "1"], "cluster": ["--image", "i", "--pvc", "c"]}[command]
    done = subprocess.run(
        [
            *(sys.executable, "-c"),
            "from tfx_feeder.pipeline.cli.main import main; main()",
            *(command, "--ir", "p.json", "--node", "Gen", *options),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "damaged" in done.stderr or "expected" in done.stderr


def _failing(error: Exception) -> click.Command:
    @click.group(cls=ErrorReportingGroup)
    def group() -> None:
        """Holds a command."""

    @group.command()
    def fail() -> None:
        """Fails."""
        raise error

    return group


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (ConfigError("x", received=1, expected="2"), 2, "x: expected 2. Received: 1."),
        (DataError("no data"), 1, "no data"),
        (PermissionError(13, "Permission denied", "/a"), 1, "/a: Permission denied"),
        (KeyError("k"), 1, f"KeyError: 'k'. Set {TRACEBACK_VARIABLE}=1 to see where."),
        (RecursionError("deep\nand more"), 1, f"RecursionError: deep. Set {TRACEBACK_VARIABLE}=1"),
    ],
)
def test_every_error_is_one_line(error, status, line):
    done = CliRunner().invoke(_failing(error), ["fail"])
    assert done.exit_code == status
    assert done.stderr.startswith(f"Error: {line}")
    assert done.stderr.count("\n") == 1


def test_an_error_of_any_length_is_short():
    for error in (DataError("x" * 1_000_000), ValueError("x" * 1_000_000)):
        assert len(CliRunner().invoke(_failing(error), ["fail"]).stderr) < 2_000
    assert len(CliRunner().invoke(main, ["x" * 100_000]).stderr) < 2_000


def test_a_variable_shows_the_traceback_of_an_unexpected_error():
    done = CliRunner().invoke(_failing(KeyError("k")), ["fail"], env={TRACEBACK_VARIABLE: "1"})
    assert isinstance(done.exception, KeyError)


def test_a_terminal_without_the_characters_of_a_table_shows_it(tmp_path):
    command = [sys.executable, "-c", "from tfx_feeder.pipeline.cli.main import main; main()"]
    done = subprocess.run(
        [*command, "doctor", "--quick", "--root", str(tmp_path)],
        env={**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "²"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr  # 1: it found fault with this machine.
    assert "free" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("runner", ["local_runner", "kubeflow_runner"])
def test_the_runners_report_like_the_commands(runner, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    module = __import__(runner)
    assert isinstance(module.main, ErrorReporting)
    image = ["--image", "i"] if runner == "kubeflow_runner" else []
    done = CliRunner().invoke(module.main, [*image, "--schedule", "0.01;32"])
    assert done.exit_code == 2
    assert done.stderr.startswith("Error: schedule: expected")


def test_the_airflow_runner_names_a_variable_that_is_missing(monkeypatch):
    airflow = Path(ROOT, "airflow_runner.py").read_text()
    monkeypatch.delenv("TFX_FEEDER_ROOT", raising=False)
    begin, end = airflow.index("def _required"), airflow.index("IMAGE =")
    with pytest.raises(ConfigError, match="TFX_FEEDER_ROOT: expected the folder"):
        exec(airflow[begin:end], {"os": os, "Path": Path, "ConfigError": ConfigError})
