"""TFX lines that a machine can run.

``scripts/setup_env.py`` loads this file by its path before anything is installed, and
``tfx-feeder doctor`` imports it afterwards. It therefore uses the standard library only, and
nothing newer than Python 3.7.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from typing import NamedTuple


class Machine(NamedTuple):
    """System, processor and C library, which determine the wheels that fit."""

    system: str
    arch: str
    glibc: tuple[int, int] | None

    def __str__(self) -> str:
        """Returns for example ``Linux x86_64, glibc 2.36``."""
        libc = ", glibc {}.{}".format(*self.glibc) if self.glibc else ""
        return f"{self.system} {self.arch}{libc}"


class TfxLine(NamedTuple):
    """TFX release that the suite supports.

    Args:
        name: Major and minor version; names the lock, ``requirements/tfx-<name>.txt``.
        pythons: Supported Python versions, preferred version first.
        glibc: Oldest C library on Linux (x86_64) that the wheels support.
        macos: True if there are wheels for macOS on arm64.
    """

    name: str
    pythons: tuple[str, ...]
    glibc: tuple[int, int]
    macos: bool

    def refusal(self, machine: Machine) -> str | None:
        """Returns the reason a machine cannot run this line; None if it can."""
        if machine.system == "Linux" and machine.arch == "x86_64" and machine.glibc:
            if machine.glibc >= self.glibc:
                return None
            return "it needs glibc {}.{} or newer; this machine has {}.{}".format(
                *self.glibc, *machine.glibc
            )
        if self.macos and (machine.system, machine.arch) == ("Darwin", "arm64"):
            return None
        macos = " or macOS on arm64" if self.macos else ""
        return f"it needs Linux on x86_64 with glibc{macos}; this machine is {machine}"


LINES = (
    TfxLine("1.21", ("3.13", "3.12", "3.11", "3.10"), glibc=(2, 39), macos=True),
    TfxLine("1.16", ("3.10",), glibc=(2, 17), macos=False),
)


def this_machine() -> Machine:
    """Returns the machine that runs this process."""
    glibc = None
    if sys.platform == "linux":
        try:
            found = re.match(r"glibc (\d+)\.(\d+)", os.confstr("CS_GNU_LIBC_VERSION") or "")
        except (OSError, ValueError):  # musl does not know the name.
            found = None
        glibc = (int(found.group(1)), int(found.group(2))) if found else None
    arch = platform.machine()
    if sys.platform == "darwin" and "ARM64" in platform.version():
        arch = "arm64"  # An x86_64 Python under Rosetta reports x86_64.
    return Machine(platform.system(), arch, glibc)
