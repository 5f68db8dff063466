"""Which TFX line this machine can run, and with which Python.

``scripts/setup_env.py`` loads this file by its path before anything is installed, and
``tfx-feeder doctor`` imports it afterwards. It therefore uses the standard library only, and
nothing newer than Python 3.7.
"""

from __future__ import annotations

import glob
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from typing import Iterator, NamedTuple, Sequence  # noqa: UP035 (Python 3.7)

_PROBE = """
import importlib.util, json, os, platform, sys, sysconfig
print(json.dumps({
    "path": getattr(sys, "_base_executable", None) or sys.executable,
    "version": list(sys.version_info[:3]),
    "arch": platform.machine(),
    "cpython": platform.python_implementation() == "CPython"
        and not sysconfig.get_config_var("Py_GIL_DISABLED"),
    "venv": all(importlib.util.find_spec(name) for name in ("venv", "ensurepip")),
    "headers": os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")),
}))
"""


class Machine(NamedTuple):
    """What decides which wheels fit: the system, its processor and its C library."""

    system: str
    arch: str
    glibc: tuple[int, int] | None

    def __str__(self) -> str:
        """Returns for example ``Linux x86_64, glibc 2.36``."""
        libc = ", glibc {}.{}".format(*self.glibc) if self.glibc else ""
        return f"{self.system} {self.arch}{libc}"


class Line(NamedTuple):
    """One TFX release that the suite supports.

    Args:
        name: Major and minor version; names the lock, ``requirements/tfx-<name>.txt``.
        pythons: Python versions that it runs on, best first.
        glibc: Oldest C library on Linux (x86_64) that its wheels accept.
        macos: Whether there are wheels for macOS on arm64.
        compiles: Whether a package of its lock has to be compiled (C++) on installation.
    """

    name: str
    pythons: tuple[str, ...]
    glibc: tuple[int, int]
    macos: bool
    compiles: bool

    def refusal(self, machine: Machine) -> str | None:
        """Returns why ``machine`` cannot run this line, or None when it can."""
        if machine.system == "Linux" and machine.arch == "x86_64" and machine.glibc:
            if machine.glibc >= self.glibc:
                return None
            return "it needs glibc {}.{} or newer, here is {}.{}".format(
                *self.glibc, *machine.glibc
            )
        if self.macos and (machine.system, machine.arch) == ("Darwin", "arm64"):
            return None
        macos = " or macOS on arm64" if self.macos else ""
        return f"it needs Linux on x86_64 with glibc{macos}, here is {machine}"


LINES = (
    Line("1.21", ("3.13", "3.12", "3.11", "3.10"), glibc=(2, 39), macos=True, compiles=True),
    Line("1.16", ("3.10",), glibc=(2, 17), macos=False, compiles=False),
)


class Python(NamedTuple):
    """An interpreter that answered the probe."""

    path: str
    version: tuple[int, ...]
    arch: str
    cpython: bool
    venv: bool
    headers: bool

    @property
    def minor(self) -> str:
        """Major and minor version, for example ``3.10``."""
        return "{}.{}".format(*self.version)

    def __str__(self) -> str:
        """Returns for example ``Python 3.10.13 (/usr/bin/python3.10)``."""
        return "Python {} ({})".format(".".join(map(str, self.version)), self.path)

    def refusal(self, line: Line, machine: Machine) -> str | None:
        """Returns why ``line`` cannot be installed with this interpreter, or None when it can."""
        if self.minor not in line.pythons:
            return "not Python " + " or ".join(line.pythons)
        if not self.cpython:
            return "not the standard CPython"
        if self.arch != machine.arch:
            return f"built for {self.arch}, not for {machine.arch}"
        if not self.venv:
            return "its venv module is not complete (on Debian: package python3-venv)"
        if line.compiles and not self.headers:
            return "its C headers are missing (on Debian: package python3-dev)"
        if line.compiles and not any(map(shutil.which, ("c++", "g++", "clang++"))):
            return "no C++ compiler on PATH (on Debian: package g++)"
        return None


class Choice(NamedTuple):
    """The outcome: a line, an interpreter for it, and the reason in words."""

    line: Line
    python: Python
    why: str


class NoFit(Exception):
    """No line can be installed; the message says what was found, needed, and brings it."""


def this_machine() -> Machine:
    """Returns what the running system is."""
    glibc = None
    if sys.platform == "linux":
        try:
            found = re.match(r"glibc (\d+)\.(\d+)", os.confstr("CS_GNU_LIBC_VERSION") or "")
        except (OSError, ValueError):  # musl does not know the name
            found = None
        glibc = (int(found.group(1)), int(found.group(2))) if found else None
    arch = platform.machine()
    if sys.platform == "darwin" and "ARM64" in platform.version():
        arch = "arm64"  # an x86_64 Python under Rosetta says x86_64
    return Machine(platform.system(), arch, glibc)


def output_of(command: Sequence[str], timeout_s: float = 20) -> str | None:
    """Returns the standard output of ``command``, or None when it failed in any way."""
    try:
        done = subprocess.run(
            list(command),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=timeout_s,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def probe(path: str) -> Python | None:
    """Runs the interpreter at ``path``; returns what it is, or None when it does not run.

    A file with the right name proves nothing: pyenv's shims refuse unless a version is selected.
    """
    answer = output_of([path, "-I", "-c", _PROBE])
    if not answer:
        return None
    try:
        found = json.loads(answer)
        return Python(**dict(found, version=tuple(found["version"])))
    except (ValueError, TypeError):
        return None


def _candidates(minor: str) -> Iterator[str]:
    """Yields paths at which a Python ``minor`` may be, the likeliest first."""
    for name in ("python" + minor, "python3", "python"):
        path = shutil.which(name)
        if path:
            yield path
    yield sys.executable
    pyenv = os.environ.get("PYENV_ROOT") or output_of(["pyenv", "root"]) or "~/.pyenv"
    pattern = os.path.join(os.path.expanduser(pyenv), "versions", minor + ".*", "bin", "python")
    yield from sorted(glob.glob(pattern), reverse=True)
    path = output_of(["uv", "python", "find", "--no-python-downloads", "--system", minor])
    if path:
        yield path


def choose(
    machine: Machine, line_name: str | None = None, python_path: str | None = None
) -> Choice:
    """Finds the newest line that ``machine`` can run and an interpreter for it.

    Args:
        machine: As :func:`this_machine` returns it.
        line_name: Consider this line only.
        python_path: Consider this interpreter only.

    Returns:
        The line, the interpreter and why not a newer one.

    Raises:
        NoFit: Nothing fits.
    """
    probed: dict[str, Python | None] = {}
    reasons: list[str] = []
    wanted = [line for line in LINES if line_name in (None, line.name)]
    for line in wanted:
        refusal = line.refusal(machine)
        if refusal:
            reasons.append(f"not TFX {line.name}: {refusal}")
            continue
        for minor in line.pythons:
            for path in [python_path] if python_path else _candidates(minor):
                if path not in probed:
                    probed[path] = probe(path)
                python = probed[path]
                if python and python.minor == minor and not python.refusal(line, machine):
                    newest = "as asked for" if line_name else "the newest line"
                    why = "; ".join(reasons) or newest
                    return Choice(line, python, f"{machine}: {why}")
        reasons.append(f"not TFX {line.name}: no Python {' or '.join(line.pythons)} that fits")
    raise NoFit("\n".join(_explain(wanted, machine, reasons, probed)))


def _explain(
    wanted: Sequence[Line],
    machine: Machine,
    reasons: Sequence[str],
    probed: dict[str, Python | None],
) -> Iterator[str]:
    """Yields the lines of NoFit's message."""
    yield "TFX {} cannot be installed here.".format(" or ".join(line.name for line in wanted))
    yield f"This machine: {machine}."
    for reason in reasons:
        yield f"  {reason}"
    fitting = [line for line in wanted if not line.refusal(machine)]
    if not fitting:
        return
    line = fitting[0]
    yield "Interpreters that were tried:"
    for path, python in sorted(probed.items()):
        yield f"  {python}: {python.refusal(line, machine)}" if python else f"  {path}: fails"
    yield f"Needed for TFX {line.name}: Python {' or '.join(line.pythons)}."
    yield f"This brings it: {remedy(line, list(probed.values()), machine)}"


def remedy(line: Line, pythons: Sequence[Python | None], machine: Machine) -> str:
    """Returns the one command that makes ``line`` installable here."""
    near = any(p and p.minor in line.pythons and p.refusal(line, machine) for p in pythons)
    if shutil.which("apt-get") and (near or line.compiles):
        return "apt-get install -y python3 python3-venv python3-dev g++"
    newest = line.pythons[0]
    if output_of(["uv", "--version"]):
        return f"uv python install {newest}"
    if shutil.which("pyenv"):
        return f"pyenv install {newest}"
    if shutil.which("brew"):
        return f"brew install python@{newest}"
    return f"python3 -m pip install uv && python3 -m uv python install {newest}"
