"""Git commit of source files."""

import os
import subprocess
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class GitState:
    """Git commit and working-tree status of some files.

    Args:
        commit: Hash of the checked-out commit.
        dirty: True if the repository has uncommitted changes, or if some of the files are not
            under version control.
    """

    commit: str
    dirty: bool


def git_state(files: Collection[Path]) -> GitState | None:
    """Returns the Git state of source files.

    Args:
        files: Source files of one code base; the repository of the first one is used.

    Returns:
        ``None`` without Git, a repository or a commit, or if the repository ignores all of the
        files, as it does with installed packages.
    """
    # Git does not follow symbolic links.
    paths = [str(path.resolve()) for path in files]
    if not paths:
        return None
    folder = os.path.dirname(paths[0])
    try:
        commit = _git(folder, "rev-parse", "--verify", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
        listed = _git(
            folder, "status", "--porcelain", "--untracked-files=all", "--ignored", "--", *paths
        )
    except (OSError, subprocess.SubprocessError):
        return None
    if sum(line.startswith("!!") for line in listed.splitlines()) == len(paths):
        return None
    return GitState(commit.strip(), dirty=bool(changed or listed))


def _git(folder: str, *arguments: str) -> str:
    # Variables such as GIT_DIR, which are set inside hooks, select another repository.
    environment = {name: v for name, v in os.environ.items() if not name.startswith("GIT_")}
    # Keeps `status` from writing to the repository.
    environment["GIT_OPTIONAL_LOCKS"] = "0"
    done = subprocess.run(
        ["git", "-C", folder, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        errors="replace",
        timeout=_TIMEOUT_S,
        check=True,
    )
    return done.stdout
