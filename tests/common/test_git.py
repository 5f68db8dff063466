"""What Git says of source files, in real repositories."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tfx_feeder.common.git import GitState, git_state

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="Git is not installed")


def _git(folder: Path, *arguments: str) -> str:
    author = ("-c", "user.name=A", "-c", "user.email=a@example.com")
    command = ["git", *author, "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A file that is committed."""
    path = tmp_path / "repository" / "package" / "model.py"
    path.parent.mkdir(parents=True)
    path.write_text("units = 3\n")
    (path.parents[1] / ".gitignore").write_text("installed/\n")
    _git(path.parents[1], "init", "--quiet")
    _git(path.parents[1], "add", "--all")
    _git(path.parents[1], "commit", "--quiet", "--message=First")
    return path


def test_a_clean_repository_has_a_commit(model: Path) -> None:
    assert git_state([model]) == GitState(_git(model.parent, "rev-parse", "HEAD"), dirty=False)


def test_a_link_leads_to_the_repository(model: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(model.parent, target_is_directory=True)
    assert git_state([link / "model.py"]) == git_state([model])


def test_any_tracked_file_that_was_changed_makes_it_dirty(model: Path) -> None:
    (model.parents[1] / ".gitignore").write_text("")
    state = git_state([model])
    assert state is not None
    assert state.dirty


def test_code_that_was_never_added_makes_it_dirty_and_other_files_do_not(model: Path) -> None:
    layers = model.with_name("layers.py")
    layers.write_text("")
    state = git_state([model])
    assert state is not None
    assert not state.dirty
    state = git_state([model, layers])
    assert state is not None
    assert state.dirty


def test_what_the_repository_ignores_is_not_its_code(model: Path) -> None:
    installed = model.parents[1] / "installed" / "model.py"
    installed.parent.mkdir()
    installed.write_text("")
    assert git_state([installed]) is None


def test_no_repository_no_commit_and_no_files(tmp_path: Path) -> None:
    path = tmp_path / "model.py"
    path.write_text("")
    assert git_state([path]) is None
    _git(tmp_path, "init", "--quiet")
    assert git_state([path]) is None
    assert git_state([]) is None


def test_no_git(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_state([model]) is None


def test_a_repository_that_the_environment_names_is_another_one(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = git_state([model])
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    assert git_state([model]) == expected
