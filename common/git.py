"""At which commit code stands: asked of Git, where there is a repository."""

import os
import subprocess
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class GitState:
    """What Git says of some files.

    Args:
        commit: Hash of the commit that is checked out.
        dirty: Whether the repository holds changes that are not in the commit, or some of the
            files are not under version control.
    """

    commit: str
    dirty: bool


def git_state(files: Collection[Path]) -> GitState | None:
    """Asks Git about source files.

    Args:
        files: Those of one piece of code; the repository of the first one is asked.

    Returns:
        ``None`` where there is no Git, no repository or no commit, or where the repository ignores
        all of the files, as it does with installed packages.
    """
    # Git does not look behind symbolic links.
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
    # Variables such as GIT_DIR, which hooks have, name another repository.
    environment = {name: v for name, v in os.environ.items() if not name.startswith("GIT_")}
    # Otherwise `status` would write to the repository.
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
