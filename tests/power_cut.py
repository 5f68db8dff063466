"""A disk whose power can be cut: an ext4 file system on a loop device.

The cut is the kernel's own: ``EXT4_IOC_SHUTDOWN`` without a flush of the journal. From then on each
access is an error, and after the next mount the disk holds what a machine would find that lost its
power at that moment.
"""

import contextlib
import fcntl
import functools
import os
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

_SHUTDOWN = 0x8004587D
"""``_IOR('X', 125, __u32)``; see linux/fs/ext4/ext4.h and xfstests' godown."""
_NO_LOG_FLUSH = 2
_RELEASE_S = 600
_TOOLS = ("losetup", "mkfs.ext4", "mount", "umount", "unshare")


class Disk:
    """A mounted disk.

    Args:
        image: File of the disk.
        folder: Mount point.
    """

    def __init__(self, image: Path, folder: Path) -> None:
        self.folder = folder
        self._image = image
        self._boots = 0
        self.start()

    def start(self) -> None:
        """Mounts the disk, which replays its journal, as at the start of a machine."""
        self._boots += 1
        _call("mount", "-o", "loop", str(self._image), str(self.folder))

    def stop(self) -> None:
        """Unmounts the disk, also from mount namespaces that processes of others copied it to."""
        _call("umount", str(self.folder))
        # Mounted again before, it would be the same file system, which the cut has ended.
        deadline = time.monotonic() + _RELEASE_S
        while _output("losetup", "--associated", str(self._image)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.folder} is still mounted in another mount namespace.")
            time.sleep(0.1)

    def cut(self) -> None:
        """Cuts the power."""
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(descriptor)

    def cut_and_start(self) -> None:
        """Cuts the power and starts again; processes that used the disk must have ended."""
        self.cut()
        self.stop()
        self.start()

    @property
    def boot_id(self) -> str:
        """Id of the current start of the machine."""
        return f"boot-{self._boots}"

    def command(self, *words: str) -> list[str]:
        """Returns a command that reads ``boot_id`` as the id of the running system."""
        file = self._image.with_name("boot_id")
        file.write_text(self.boot_id)
        bind = f"mount --bind {file} /proc/sys/kernel/random/boot_id"
        return ["unshare", "--mount", "sh", "-c", f'{bind} && exec "$@"', "sh", *words]


@contextlib.contextmanager
def disk(size: str = "1G") -> Iterator[Disk]:
    """Yields a new disk; skips the test where none can be made.

    Args:
        size: Size for ``truncate``.
    """
    if reason := _why_not():
        pytest.skip(f"power cuts are not tested: {reason}")
    folder = Path(tempfile.mkdtemp(prefix="power-cut-"))
    image, mounted = folder / "image", folder / "disk"
    mounted.mkdir()
    _call("truncate", "-s", size, str(image))
    _call("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(image))
    made = Disk(image, mounted)
    try:
        yield made
    finally:
        subprocess.run(["umount", "--lazy", str(mounted)], check=False, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


@functools.cache
def _why_not() -> str:
    if os.geteuid() != 0:
        return "root is needed for a loop device"
    if missing := [tool for tool in _TOOLS if shutil.which(tool) is None]:
        return f"there is no {missing[0]}"
    done = subprocess.run(["losetup", "--find"], check=False, capture_output=True, text=True)
    return "" if done.returncode == 0 else f"losetup: {done.stderr.strip()}"


def _call(*command: str) -> None:
    _output(*command)


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
