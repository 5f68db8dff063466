"""Rendezvous file: a pickled work item, of which the readers know that the chief wrote it.

Unpickling executes what the file says. A file is therefore checked before it is unpickled: by its
HMAC if the machines of the cluster have a common token in their environments, else by its owner and
its mode.
"""

import contextlib
import hashlib
import hmac
import os
import pickle
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.launcher.worker import WorkItem

RENDEZVOUS_VARIABLE = "TFX_FEEDER_RENDEZVOUS"
"""Environment variable with the path of the rendezvous file."""

TOKEN_VARIABLE = "TFX_FEEDER_TOKEN"
"""Environment variable with a secret that all machines of a cluster share; optional."""

_HEADER = b"tfx-feeder work item 1\n"
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def write_job(path: Path, item: WorkItem, environ: Mapping[str, str] = os.environ) -> None:
    """Writes a work item atomically, readable for the user of this process only.

    Args:
        path: Path of the file; its folder must exist.
        item: Work item.
        environ: Environment with the token.
    """
    content = pickle.dumps(item)
    descriptor, partial = tempfile.mkstemp(prefix=".partial-", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            file.write(_HEADER + _signature(content, environ) + content)
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(partial)
        raise


def read_job(path: Path, environ: Mapping[str, str] = os.environ) -> WorkItem | None:
    """Returns the work item in a file, or ``None`` if the file does not exist.

    Args:
        path: Path of the file.
        environ: Environment with the token.

    Raises:
        ConfigError: The file is not one that a chief with the same token wrote, or, without a
            token, one that another user may have written.
    """
    try:
        with open(path, "rb") as file:
            owner = os.fstat(file.fileno())
            content = file.read()
    except OSError:  # Missing, or replaced during the read on a network file system.
        return None
    if not content.startswith(_HEADER):
        raise _refusal(path, "the rendezvous file of the chief's Trainer, of the same release")
    end = len(_HEADER) + hashlib.sha256().digest_size
    signature, content = content[len(_HEADER) : end], content[end:]
    if not hmac.compare_digest(signature, _signature(content, environ)):
        raise _refusal(
            path,
            f"a file signed with this machine's {TOKEN_VARIABLE}",
            f"Set {TOKEN_VARIABLE} to the same value on all machines of the cluster, or on none.",
        )
    if not environ.get(TOKEN_VARIABLE):
        _check_owner(path, owner)
    return pickle.loads(content)


def _check_owner(path: Path, found: os.stat_result) -> None:
    if found.st_uid not in (os.geteuid(), 0) or found.st_mode & _WRITABLE_BY_OTHERS:
        raise _refusal(
            path,
            "a file that only this user can write, because it is executed; this one belongs to "
            f"user {found.st_uid} and has the mode {stat.filemode(found.st_mode)}",
            f"Set {TOKEN_VARIABLE} to a common secret on all machines of the cluster.",
        )


def _refusal(path: Path, expected: str, fix: str = "") -> ConfigError:
    return ConfigError(RENDEZVOUS_VARIABLE, received=str(path), expected=expected, fix=fix)


def _signature(content: bytes, environ: Mapping[str, str]) -> bytes:
    return hmac.digest(environ.get(TOKEN_VARIABLE, "").encode(), content, hashlib.sha256)
