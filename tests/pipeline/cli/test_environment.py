"""Which line and which Python are chosen."""

import os
import stat
import sys
from pathlib import Path

import pytest

from tfx_feeder.pipeline.cli import environment
from tfx_feeder.pipeline.cli.environment import LINES, Machine, NoFit, Python, choose, probe

NEW_LINUX = Machine("Linux", "x86_64", (2, 39))
OLD_LINUX = Machine("Linux", "x86_64", (2, 36))
NEWEST, OLDER = LINES
GOOD = Python("/py", (3, 10, 13), "x86_64", cpython=True, venv=True, headers=True)


@pytest.mark.parametrize(
    ("machine", "names"),
    [
        (NEW_LINUX, ["1.21", "1.16"]),
        (OLD_LINUX, ["1.16"]),
        (Machine("Linux", "x86_64", (2, 12)), []),
        (Machine("Linux", "x86_64", None), []),  # musl
        (Machine("Linux", "aarch64", (2, 41)), []),
        (Machine("Darwin", "arm64", None), ["1.21"]),
        (Machine("Darwin", "x86_64", None), []),
        (Machine("Windows", "AMD64", None), []),
    ],
)
def test_which_lines_a_machine_can_run(machine: Machine, names: list[str]) -> None:
    assert [line.name for line in LINES if not line.refusal(machine)] == names


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"version": (3, 9, 1)}, "not Python 3.10"),
        ({"cpython": False}, "CPython"),
        ({"arch": "i686"}, "built for i686"),
        ({"venv": False}, "python3-venv"),
    ],
)
def test_an_unsuitable_interpreter_is_refused_with_its_reason(change: dict, reason: str) -> None:
    assert reason in (GOOD._replace(**change).refusal(OLDER, OLD_LINUX) or "")


def test_headers_and_compiler_matter_only_where_something_is_compiled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(environment.shutil, "which", lambda name: None)
    assert GOOD._replace(headers=False).refusal(OLDER, NEW_LINUX) is None
    assert "python3-dev" in (GOOD._replace(headers=False).refusal(NEWEST, NEW_LINUX) or "")
    assert "g++" in (GOOD.refusal(NEWEST, NEW_LINUX) or "")


def test_the_running_interpreter_answers_the_probe() -> None:
    found = probe(sys.executable)
    assert found
    assert found.version == sys.version_info[:3]


def test_a_shim_that_refuses_is_not_a_python(tmp_path: Path) -> None:
    shim = tmp_path / "python3.10"
    shim.write_text("#!/bin/sh\necho 'command not found' >&2\nexit 127\n")
    shim.chmod(stat.S_IRWXU)
    assert probe(str(shim)) is None


def test_a_missing_file_is_not_a_python(tmp_path: Path) -> None:
    assert probe(str(tmp_path / "none")) is None


def _with_pythons(monkeypatch: pytest.MonkeyPatch, *pythons: Python) -> None:
    monkeypatch.setattr(environment, "_candidates", lambda minor: [p.path for p in pythons])
    monkeypatch.setattr(environment, "probe", {p.path: p for p in pythons}.get)


def test_the_best_python_of_the_newest_line_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment.shutil, "which", lambda name: f"/usr/bin/{name}")
    better = GOOD._replace(path="/py313", version=(3, 13, 0))
    _with_pythons(monkeypatch, GOOD, better)
    assert choose(NEW_LINUX)[:2] == (NEWEST, better)
    assert choose(OLD_LINUX)[:2] == (OLDER, GOOD)


def test_the_reason_names_what_keeps_the_newer_line_away(monkeypatch: pytest.MonkeyPatch) -> None:
    _with_pythons(monkeypatch, GOOD)
    assert "glibc 2.39 or newer, here is 2.36" in choose(OLD_LINUX).why


def test_without_a_fitting_python_the_error_says_found_needed_and_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _with_pythons(monkeypatch, GOOD._replace(path="/py312", version=(3, 12, 1)))
    with pytest.raises(NoFit) as caught:
        choose(OLD_LINUX)
    message = str(caught.value)
    assert "Python 3.12.1 (/py312): not Python 3.10" in message
    assert "Needed for TFX 1.16: Python 3.10" in message
    assert "This brings it: " in message


def test_a_forced_line_that_cannot_run_here_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    _with_pythons(monkeypatch, GOOD)
    with pytest.raises(NoFit, match=r"TFX 1\.21 cannot be installed here"):
        choose(OLD_LINUX, line_name="1.21")


def test_pyenv_is_searched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "versions" / "3.10.99" / "bin"
    folder.mkdir(parents=True)
    (folder / "python").symlink_to(os.path.realpath(sys.executable))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert str(folder / "python") in environment._candidates("3.10")
