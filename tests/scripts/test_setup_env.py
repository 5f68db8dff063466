"""Set-up's own decisions; the real installation is what every test run begins with."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = sorted((ROOT / "requirements").glob("tfx-*.txt"))


@pytest.fixture
def setup_env(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The script as a module, with its environment in a folder of the test."""
    spec = importlib.util.spec_from_file_location("setup_env", ROOT / "scripts/setup_env.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    venv = tmp_path / ".venv"
    monkeypatch.setattr(module, "VENV", venv)
    monkeypatch.setattr(module, "PYTHON", venv / "bin/python")
    monkeypatch.setattr(module, "STAMP", venv / "stamp.json")
    return module


@pytest.fixture
def finished(setup_env: ModuleType) -> dict[str, str]:
    """A finished environment: a real interpreter and its stamp."""
    setup_env.PYTHON.parent.mkdir(parents=True)
    setup_env.PYTHON.symlink_to(sys.executable)
    (setup_env.VENV / "pyvenv.cfg").write_text("home = /usr/bin\n")
    stamp = {
        "line": "1.16",
        "python": str(setup_env.environment.probe(str(setup_env.PYTHON))),
        "fingerprint": setup_env.fingerprint("1.16"),
    }
    setup_env.STAMP.write_text(json.dumps(stamp))
    return stamp


def test_a_finished_environment_is_left_alone(
    setup_env: ModuleType, finished: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert setup_env.main([]) == 0
    assert capsys.readouterr().out == "environment is up to date\n"


def test_another_line_is_not_current(setup_env: ModuleType, finished: dict[str, str]) -> None:
    assert setup_env.is_current(setup_env.read_stamp(), "1.16", None)
    assert not setup_env.is_current(setup_env.read_stamp(), "1.21", None)


def test_a_changed_lock_is_not_current(
    setup_env: ModuleType, finished: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    changed = tmp_path / "lock.txt"
    changed.write_text("click==8.0\n")
    monkeypatch.setattr(setup_env, "lock_of", lambda line: changed)
    assert not setup_env.is_current(setup_env.read_stamp(), None, None)


def test_an_interpreter_that_is_gone_makes_the_environment_broken(
    setup_env: ModuleType, finished: dict[str, str]
) -> None:
    setup_env.PYTHON.unlink()
    setup_env.PYTHON.symlink_to("/nowhere/python3.10")
    assert setup_env.read_stamp() == {}


def test_a_failing_installer_leaves_nothing_that_counts_as_installed(
    setup_env: ModuleType,
    finished: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    setup_env.STAMP.write_text(json.dumps({**finished, "fingerprint": "older"}))
    environment = setup_env.environment
    python = environment.probe(sys.executable)
    choice = environment.Choice(environment.LINES[-1], python, "a test")
    monkeypatch.setattr(environment, "choose", lambda *arguments: choice)
    uv = setup_env.VENV / "bin/uv"
    uv.write_text("#!/bin/sh\necho no route to the index >&2\nexit 2\n")
    uv.chmod(0o755)
    assert setup_env.main([]) == 1
    error = capsys.readouterr().err
    assert "no route to the index" in error
    assert "--require-hashes" in error
    assert setup_env.read_stamp() == {}


def test_a_folder_that_is_no_environment_is_not_removed(setup_env: ModuleType) -> None:
    precious = setup_env.VENV / "precious.txt"
    precious.parent.mkdir()
    precious.touch()
    with pytest.raises(setup_env.SetupError, match="move it away"):
        setup_env.remove_venv()
    assert precious.exists()


def test_an_unfinished_environment_is_removed(setup_env: ModuleType) -> None:
    setup_env.VENV.mkdir()
    (setup_env.VENV / "pyvenv.cfg").touch()
    setup_env.remove_venv()
    assert not setup_env.VENV.exists()


def test_print_names_the_choice_and_changes_nothing() -> None:
    command = [sys.executable, str(ROOT / "scripts/setup_env.py"), "--print"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("TFX 1.")


def test_an_interpreter_that_does_not_fit_is_refused_with_a_remedy(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts/setup_env.py"), "--print", "--python"]
    done = subprocess.run([*command, str(tmp_path / "python")], capture_output=True, text=True)
    assert done.returncode == 1
    assert "This brings it:" in done.stderr


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_a_lock_pins_uv_with_hashes_and_names_no_host(setup_env: ModuleType, lock: Path) -> None:
    assert "--hash=sha256:" in setup_env.block_of("uv", lock)
    text = lock.read_text()
    assert "://" not in text
    assert os.sep + "opt" + os.sep not in text
    assert "--find-links" not in text
