"""Set-up's own decisions; the real installation is what every test run begins with."""

import importlib.util
import json
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
    monkeypatch.setattr(module, "STAMP", venv / "stamp.json")
    return module


@pytest.fixture
def finished(setup_env: ModuleType) -> dict[str, str]:
    """A finished environment: a real interpreter and its stamp."""
    python = setup_env.VENV / "bin/python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    (setup_env.VENV / "pyvenv.cfg").write_text("home = /usr/bin\n")
    line = setup_env.choose_line(None).name
    stamp = {"line": line, "fingerprint": setup_env.fingerprint(line, None)}
    setup_env.STAMP.write_text(json.dumps(stamp))
    return stamp


def test_a_finished_environment_is_left_alone(
    setup_env: ModuleType, finished: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert setup_env.main([]) == 0
    assert capsys.readouterr().out.endswith("environment is up to date\n")


def test_a_forced_line_and_interpreter_are_kept_by_a_plain_call(
    setup_env: ModuleType,
    finished: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    forced = {"line": "1.16", "python": "/usr/bin/python3.10"}
    forced["fingerprint"] = setup_env.fingerprint("1.16", forced["python"])
    setup_env.STAMP.write_text(json.dumps(forced))
    assert setup_env.main([]) == 0
    assert capsys.readouterr().out.startswith("TFX 1.16 on ")
    assert json.loads(setup_env.STAMP.read_text()) == forced


def test_the_description_of_an_interpreter_is_not_taken_for_its_path(
    setup_env: ModuleType, finished: dict[str, str]
) -> None:
    setup_env.STAMP.write_text(json.dumps({**finished, "python": "Python 3.10.13 (/usr/bin/py)"}))
    assert setup_env.read_stamp() == finished


def test_the_fingerprint_depends_on_lock_and_interpreter(
    setup_env: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = setup_env.fingerprint("1.16", None)
    assert setup_env.fingerprint("1.21", None) != before
    assert setup_env.fingerprint("1.16", "3.10") != before
    changed = tmp_path / "lock.txt"
    changed.write_text("click==8.0\n")
    monkeypatch.setattr(setup_env, "lock_of", lambda line: changed)
    assert setup_env.fingerprint("1.16", None) != before


def test_an_interpreter_that_is_gone_makes_the_environment_broken(
    setup_env: ModuleType, finished: dict[str, str]
) -> None:
    python = setup_env.VENV / "bin/python"
    python.unlink()
    python.symlink_to("/nowhere/python3.10")
    assert setup_env.read_stamp() == {}


def test_a_failing_installer_leaves_nothing_that_counts_as_installed(
    setup_env: ModuleType,
    finished: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    setup_env.STAMP.write_text(json.dumps({**finished, "fingerprint": "older"}))
    monkeypatch.setattr(setup_env, "block_of", lambda *_: "no-such-package==1 --hash=sha256:0\n")
    assert setup_env.main([]) == 1
    assert "--require-hashes" in capsys.readouterr().err
    assert setup_env.read_stamp() == {}


def test_a_folder_that_is_no_environment_is_not_removed(setup_env: ModuleType) -> None:
    precious = setup_env.VENV / "precious.txt"
    precious.parent.mkdir()
    precious.touch()
    with pytest.raises(setup_env.SetupError, match="move it away"):
        setup_env.create_venv("uv", setup_env.choose_line(None), None)
    assert precious.exists()


def test_an_environment_is_made_anew(setup_env: ModuleType) -> None:
    setup_env.VENV.mkdir()
    (setup_env.VENV / "pyvenv.cfg").touch()
    uv = str(Path(sys.executable).with_name("uv"))
    setup_env.create_venv(uv, setup_env.choose_line(None), sys.executable)
    assert subprocess.run([setup_env.VENV / "bin/python", "-m", "pip", "--version"]).returncode == 0


def test_print_names_the_line_and_changes_nothing() -> None:
    command = [sys.executable, str(ROOT / "scripts/setup_env.py"), "--print"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("TFX 1.")


def test_a_line_that_the_machine_cannot_run_is_refused(
    setup_env: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = setup_env.environment.Machine("Windows", "AMD64", None)
    monkeypatch.setattr(setup_env.environment, "this_machine", lambda: windows)
    with pytest.raises(setup_env.SetupError, match=r"not TFX 1\.21: it needs Linux"):
        setup_env.choose_line(None)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_a_lock_pins_uv_with_hashes_and_names_no_host(setup_env: ModuleType, lock: Path) -> None:
    assert "--hash=sha256:" in setup_env.block_of("uv", lock)
    text = lock.read_text()
    assert "://" not in text
    options = [line for line in text.splitlines() if line.startswith("-")]
    assert not options, "an option of the installer, such as an index or a folder of wheels"
