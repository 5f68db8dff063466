#!/usr/bin/env python3
"""Creates .venv with the newest TFX line that the machine can run, from its lock, with uv.

    python3 scripts/setup_env.py [--line 1.16|1.21] [--python PATH] [--print]

Needs Python 3.7 or newer with its venv module; uv, which does the rest, is installed from the lock.
A second call does nothing unless something changed; a call after an interrupted one starts over.
"""

from __future__ import annotations

import argparse
import contextlib
import glob
import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Iterator  # noqa: UP035 (Python 3.7)

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "tfx-feeder-stamp.json"
REQUIREMENTS = ROOT / "requirements"
COMPILER_HINT = (
    "TFX 1.21 compiles a dependency: it needs a C++ compiler and Python's headers. "
    "On Debian and Ubuntu: apt-get install -y python3-venv python3-dev g++"
)


def _load_environment() -> Any:
    """Returns the module ``pipeline/cli/environment.py``, which needs no installation."""
    path = ROOT / "pipeline/cli/environment.py"
    spec = importlib.util.spec_from_file_location("environment", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


environment = _load_environment()


class SetupError(Exception):
    """The environment could not be created; the message says what to do."""


def lock_of(line_name: str) -> Path:
    """Returns the lock of a line."""
    return REQUIREMENTS / f"tfx-{line_name}.txt"


def choose_line(name: str | None) -> Any:
    """Returns the newest line that this machine can run, or the named one.

    Raises:
        SetupError: The machine cannot run the line.
    """
    machine = environment.this_machine()
    refusals = []
    for line in environment.LINES:
        if name not in (None, line.name):
            continue
        refusal = line.refusal(machine)
        if not refusal:
            print("\n  ".join([f"TFX {line.name} on {machine}", *refusals]), flush=True)
            return line
        refusals.append(f"not TFX {line.name}: {refusal}")
    raise SetupError("\n  ".join(["TFX cannot be installed on this machine.", *refusals]))


def fingerprint(line_name: str, python: str | None) -> str:
    """Returns a hash of everything that an installed environment depends on."""
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
    # The C library may have been upgraded, and a venv cannot be moved.
    digest.update(f"{environment.this_machine()}{ROOT}{python}".encode())
    return digest.hexdigest()


def read_stamp() -> dict[str, Any]:
    """Returns the stamp of a finished environment whose interpreter still runs, or nothing."""
    try:
        stamp = json.loads(STAMP.read_text())
        subprocess.run([str(VENV / "bin/python"), "-c", ""], check=True, capture_output=True)
    except (OSError, ValueError, subprocess.SubprocessError):
        return {}
    if str(stamp.get("python")).startswith("Python "):
        del stamp["python"]  # A description, as earlier releases wrote it.
    return stamp


def run(*command: str) -> None:
    """Runs an installer and shows its messages, without its closing list of packages.

    Raises:
        SetupError: The command failed; the message contains the command.
    """
    env = {key: value for key, value in os.environ.items() if key != "PYTHONHOME"}
    env.setdefault("UV_HTTP_TIMEOUT", "300")  # TensorFlow alone is 0.6 GB.
    env.setdefault("UV_SYSTEM_CERTS", "true")  # The authority of a proxy, as pip accepts it.
    # pyenv's shims, which precede its Pythons on PATH, refuse to run unless a version is selected.
    pyenv = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
    pythons = sorted(glob.glob(os.path.join(pyenv, "versions", "*", "bin")), reverse=True)
    env["PATH"] = os.pathsep.join([*pythons, env.get("PATH", "")])
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
            "This command failed with exit status {}:\n  {}\nFix the cause, which is printed "
            "above, and run the same command again.\n{}".format(
                process.returncode, " ".join(command), COMPILER_HINT
            )
        )


def install(line: Any, python: str | None) -> None:
    """Creates or updates the environment.

    Args:
        line: TFX line to install.
        python: Path or version of the interpreter; by default, the best one that uv finds.
    """
    lock = lock_of(line.name)
    finished = read_stamp()
    keep = (finished.get("line"), finished.get("python")) == (line.name, python)
    with contextlib.suppress(FileNotFoundError):
        STAMP.unlink()  # Until a new stamp is written, the environment counts as unfinished.
    with tempfile.TemporaryDirectory() as folder:
        uv = str(Path(folder, "bin/uv"))
        step("installing uv")
        run(sys.executable, "-m", "venv", folder)
        pinned = Path(folder, "uv.txt")
        pinned.write_text(block_of("uv", lock))
        pip = [str(Path(folder, "bin/python")), "-m", "pip", "install", "--quiet"]
        run(*pip, "--disable-pip-version-check", "--require-hashes", "-r", str(pinned))
        if not keep:
            create_venv(uv, line, python)
        step(f"installing {lock.relative_to(ROOT)}")
        # The lock is complete, so nothing is resolved. Bytecode is compiled at installation:
        # with PYTHONDONTWRITEBYTECODE set, each import would compile it again.
        into = [uv, "pip", "install", "--python", str(VENV), "--no-deps"]
        build = ["--build-constraints", str(REQUIREMENTS / "build.txt")]
        run(*into, *build, "--require-hashes", "--compile-bytecode", "-r", str(lock))
        step("installing tfx-feeder itself, editable")
        run(*into, "--quiet", "--no-build-isolation", "--editable", str(ROOT))
    unfinished = STAMP.with_suffix(".tmp")
    stamp = {
        "line": line.name,
        "python": python,
        "fingerprint": fingerprint(line.name, python),
    }
    unfinished.write_text(json.dumps(stamp, indent=2) + "\n")
    os.replace(str(unfinished), str(STAMP))


def create_venv(uv: str, line: Any, python: str | None) -> None:
    """Replaces the environment by an empty one.

    Args:
        uv: Path of uv.
        line: TFX line that the interpreter must support.
        python: Path or version of the interpreter; by default, the best one that uv finds.

    Raises:
        SetupError: A folder of that name is not an environment, or no interpreter fits.
    """
    if VENV.is_symlink() or (VENV.exists() and not (VENV / "pyvenv.cfg").exists()):
        raise SetupError(f"{VENV} is not a virtual environment of this project: move it away.")
    step(f"creating {VENV.name}")
    # Components with a module file call pip inside the environment, hence the seed.
    make = [uv, "venv", "--quiet", "--seed", "--clear"]
    requests = [python] if python else [f"cpython-{minor}" for minor in line.pythons]
    for request in requests[:-1]:
        with contextlib.suppress(SetupError):
            run(*make, "--no-python-downloads", "--python", request, str(VENV))
            return
    # uv downloads this one if the machine does not have it.
    run(*make, "--python", requests[-1], str(VENV))


def block_of(package: str, lock: Path) -> str:
    """Returns the lines of a lock that pin a package, including hashes.

    Args:
        package: Name of the package.
        lock: Path of the lock.

    Raises:
        SetupError: The lock does not contain the package.
    """
    found = re.search(rf"^{package}==.*\n(?:[ ]+--hash=.*\n)+", lock.read_text(), re.MULTILINE)
    if not found:
        raise SetupError(f"{lock} does not contain {package}. Run `make lock`.")
    return found.group(0)


def step(text: str) -> None:
    """Prints a step of the installation."""
    print(f"  {text}", flush=True)


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Makes a second call in the same checkout wait for the first one."""
    import fcntl  # Not available on Windows, which has been refused by now.

    with open(__file__) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def set_up(line: Any, python: str | None) -> None:
    """Creates or updates the environment if something changed.

    Args:
        line: TFX line to install.
        python: Path or version of the interpreter; by default, the best one that uv finds.
    """
    with one_at_a_time():
        if read_stamp().get("fingerprint") == fingerprint(line.name, python):
            print("environment is up to date")
            return
        started = time.monotonic()
        install(line, python)
        print(f"environment is ready after {time.monotonic() - started:.0f} s")


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Create the environment in .venv.")
    names = [line.name for line in environment.LINES]
    parser.add_argument("--line", choices=names, help="TFX line; default: the newest that fits")
    parser.add_argument("--python", help="path or version of the interpreter; default: the best")
    parser.add_argument("--print", action="store_true", help="only print the line")
    options = parser.parse_args(arguments)
    # Without options, an environment keeps the line and the interpreter it was made with.
    stamp = {} if options.print else read_stamp()
    python = options.python or stamp.get("python")
    try:
        line = choose_line(options.line or stamp.get("line"))
        if not options.print:
            set_up(line, python)
        return 0
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command starts over", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
