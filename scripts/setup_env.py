#!/usr/bin/env python3
"""Makes .venv: finds a Python and the newest TFX line for this machine, installs from its lock.

    python3 scripts/setup_env.py [--line 1.16|1.21] [--python PATH] [--print]

Uses the standard library only and runs on Python 3.7 or newer, whatever the environment itself
will run on. A second call does nothing unless something changed; a call after an interrupted one
starts over.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Iterator  # noqa: UP035 (Python 3.7)

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "tfx-feeder-stamp.json"
REQUIREMENTS = ROOT / "requirements"


def _load_environment() -> Any:
    """Returns the module ``pipeline/cli/environment.py``, which no installation is needed for."""
    spec = importlib.util.spec_from_file_location(
        "environment", ROOT / "pipeline/cli/environment.py"
    )
    if not spec or not spec.loader:
        raise ImportError("pipeline/cli/environment.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


environment = _load_environment()


class SetupError(Exception):
    """The environment could not be made; the message says what to do."""


def lock_of(line_name: str) -> Path:
    """Returns the lock of a line."""
    return REQUIREMENTS / f"tfx-{line_name}.txt"


def fingerprint(line_name: str) -> str:
    """Returns a hash of all that an installed environment depends on."""
    digest = hashlib.sha256()
    for path in (
        lock_of(line_name),
        REQUIREMENTS / "build.txt",
        ROOT / "setup.py",
        ROOT / "pyproject.toml",
        Path(__file__).resolve(),
        Path(environment.__file__),
    ):
        digest.update(path.read_bytes())
    # The machine, for its C library may have been upgraded; the place, for a venv cannot be moved.
    digest.update(f"{environment.this_machine()}{ROOT}".encode())
    return digest.hexdigest()


def read_stamp() -> dict[str, str]:
    """Returns the stamp of a finished installation whose interpreter still runs, or nothing."""
    try:
        stamp = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return {}
    running = environment.probe(str(PYTHON))
    return stamp if running and str(running) == stamp.get("python") else {}


def is_current(stamp: dict[str, str], line_name: str | None, python_path: str | None) -> bool:
    """Returns whether a finished installation is what is asked for now."""
    if not stamp or line_name not in (None, stamp["line"]):
        return False
    if python_path and str(environment.probe(python_path)) != stamp["python"]:
        return False
    return stamp["fingerprint"] == fingerprint(stamp["line"])


def run(command: list[str]) -> None:
    """Runs an installer and shows what it says, without its closing list of packages.

    Raises:
        SetupError: It failed; the message holds the command.
    """
    env = {key: value for key, value in os.environ.items() if key != "PYTHONHOME"}
    env.setdefault("UV_HTTP_TIMEOUT", "300")  # TensorFlow alone is 0.6 GB
    env.setdefault("UV_SYSTEM_CERTS", "true")  # a company's own authority, as pip accepts it
    try:
        with subprocess.Popen(
            command, env=env, cwd=str(ROOT), stderr=subprocess.PIPE, text=True
        ) as process:
            for line in process.stderr or ():
                if not line.startswith((" + ", " - ", " ~ ")):
                    sys.stderr.write(line)
    except OSError as error:
        raise SetupError(f"{command[0]}: {error}") from error
    if process.returncode:
        raise SetupError(
            "This command failed with exit status {}:\n  {}\nIts own message stands above. "
            "Nothing counts as installed; the same call starts over.".format(
                process.returncode, " ".join(command)
            )
        )


def install(choice: Any, keep: bool) -> None:
    """Makes or renews the environment.

    Args:
        choice: The line and the interpreter.
        keep: Whether a finished environment of the same interpreter is there to build upon.
    """
    lock = lock_of(choice.line.name)
    with contextlib.suppress(FileNotFoundError):
        STAMP.unlink()  # from here on, until the last line, nothing counts as installed
    if not keep:
        remove_venv()
        step(f"making {VENV.name}")
        run([choice.python.path, "-m", "venv", str(VENV)])
        with tempfile.TemporaryDirectory() as folder:
            only_uv = Path(folder, "uv.txt")
            only_uv.write_text(block_of("uv", lock))
            pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            run([*pip, "--require-hashes", "-r", str(only_uv)])
    uv = [str(VENV / "bin" / "uv"), "pip", "install", "--python", str(PYTHON)]
    step(f"installing {lock.relative_to(ROOT)}")
    # The lock is complete, so nothing has to be resolved. Bytecode is compiled now, for where
    # PYTHONDONTWRITEBYTECODE is set each import would compile it again.
    how = ["--no-deps", "--require-hashes", "--compile-bytecode"]
    build = ["--build-constraints", str(REQUIREMENTS / "build.txt")]
    run([*uv, *how, *build, "-r", str(lock)])
    step("installing tfx-feeder itself, editable")
    run([*uv, "--quiet", "--no-deps", "--no-build-isolation", "--editable", str(ROOT)])
    stamp = {
        "line": choice.line.name,
        "python": str(environment.probe(str(PYTHON))),
        "fingerprint": fingerprint(choice.line.name),
    }
    unfinished = STAMP.with_suffix(".tmp")
    unfinished.write_text(json.dumps(stamp, indent=2) + "\n")
    os.replace(str(unfinished), str(STAMP))


def remove_venv() -> None:
    """Removes an environment that cannot be built upon.

    Raises:
        SetupError: What stands there is not a virtual environment.
    """
    if not VENV.exists() and not VENV.is_symlink():
        return
    if VENV.is_symlink() or not (VENV / "pyvenv.cfg").exists():
        raise SetupError(f"{VENV} is not a virtual environment of this project: move it away.")
    step(f"removing {VENV.name}, which is unfinished, broken or made for something else")
    shutil.rmtree(str(VENV))


def block_of(package: str, lock: Path) -> str:
    """Returns the lines of a lock that pin ``package``, hashes included."""
    found = re.search(rf"^{package}==.*\n(?:[ ]+--hash=.*\n)+", lock.read_text(), re.MULTILINE)
    if not found:
        raise SetupError(f"{lock}: has no {package}. Run `make lock`.")
    return found.group(0)


def step(text: str) -> None:
    """Says what is being done."""
    print(f"  {text}", flush=True)


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Makes a second call in the same checkout wait for the first one."""
    import fcntl  # not on Windows, which is refused before this

    with open(__file__) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Make the environment in .venv.")
    names = [line.name for line in environment.LINES]
    parser.add_argument("--line", choices=names, help="TFX line; default: the newest that fits")
    parser.add_argument("--python", metavar="PATH", help="interpreter; default: one that fits")
    parser.add_argument("--print", action="store_true", help="only say what would be done")
    options = parser.parse_args(arguments)
    try:
        if options.print:
            choice = environment.choose(environment.this_machine(), options.line, options.python)
            print(f"TFX {choice.line.name} on {choice.python}\n  {choice.why}")
            return 0
        return set_up(options.line, options.python)
    except (SetupError, environment.NoFit) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same call starts over", file=sys.stderr)
        return 130


def set_up(line_name: str | None, python_path: str | None) -> int:
    """Brings the environment up to date; returns the exit status."""
    if is_current(read_stamp(), line_name, python_path):
        print("environment is up to date")
        return 0
    choice = environment.choose(environment.this_machine(), line_name, python_path)
    with one_at_a_time():
        stamp = read_stamp()
        if is_current(stamp, line_name, python_path):  # another call made it meanwhile
            print("environment is up to date")
            return 0
        print(f"TFX {choice.line.name} on {choice.python}\n  {choice.why}", flush=True)
        started = time.monotonic()
        install(choice, keep=stamp.get("line") == choice.line.name and not python_path)
        print(f"environment is ready after {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
