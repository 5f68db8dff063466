"""Cache of step profiles, keyed by a fingerprint of everything that affects them."""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfx_feeder.common.files import atomic_write
from tfx_feeder.components.feeder_trainer.schedules.time_model import StepProfile

_VERSION = 1


def fingerprint(inputs: Mapping[str, Any]) -> str:
    """Returns the fingerprint of everything that affects a profile.

    Args:
        inputs: Model code, shape and number of the examples, batch sizes, strategy options,
            machine and versions, as JSON values or as values with an unambiguous ``str``.

    Returns:
        The first 16 hexadecimal digits of a SHA-256.
    """
    document = json.dumps({"version": _VERSION, **inputs}, sort_keys=True, default=str)
    return hashlib.sha256(document.encode()).hexdigest()[:16]


class ProfileCache:
    """Folder of step profiles.

    Args:
        folder: Folder, created by the first ``write``; ``None`` to keep no profiles.
    """

    def __init__(self, folder: str | Path | None) -> None:
        self._folder = None if folder is None else Path(folder)

    def read(self, key: str) -> StepProfile | None:
        """Returns the profile with a fingerprint, marked as reused, or ``None``."""
        if self._folder is None:
            return None
        # A damaged file only causes the strategy to be profiled again.
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            document = json.loads(self._path(key).read_text(encoding="utf-8"))
            return dataclasses.replace(StepProfile.from_dict(document), reused=True, seconds=0.0)
        return None

    def write(self, key: str, profile: StepProfile) -> None:
        """Writes a profile atomically.

        Args:
            key: Fingerprint.
            profile: Step profile.
        """
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        atomic_write(self._path(key), json.dumps(profile.to_dict()))

    def _path(self, key: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{key}.json"
