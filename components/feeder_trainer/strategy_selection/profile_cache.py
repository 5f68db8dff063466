"""Probes of earlier runs, found again by a fingerprint of what they depend on."""

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfx_feeder.components.feeder_trainer.schedules.time_model import StepProfile

_VERSION = 1


def fingerprint(depends_on: Mapping[str, Any]) -> str:
    """Hashes what a probe depends on.

    Args:
        depends_on: Model code, shape and number of the examples, batch sizes, options of the
            strategy, the machine, the versions: values that JSON can hold, or that tell all as
            text.

    Returns:
        The first 16 hexadecimal digits of a SHA-256.
    """
    document = json.dumps({"version": _VERSION, **depends_on}, sort_keys=True, default=str)
    return hashlib.sha256(document.encode()).hexdigest()[:16]


class ProfileCache:
    """A folder of probes.

    Args:
        folder: Made when first written to; ``None``: nothing is kept.
    """

    def __init__(self, folder: str | Path | None) -> None:
        self._folder = None if folder is None else Path(folder)

    def read(self, key: str) -> StepProfile | None:
        """Returns the probe with a fingerprint, marked as reused; ``None`` where there is none."""
        if self._folder is None:
            return None
        # A file that is damaged costs a probe, not the training.
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            document = json.loads(self._path(key).read_text(encoding="utf-8"))
            return dataclasses.replace(StepProfile.from_dict(document), reused=True, seconds=0.0)
        return None

    def write(self, key: str, probe: StepProfile) -> None:
        """Keeps a probe, whole or not at all."""
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        partial = self._folder / f".partial-{os.getpid()}-{key}"
        partial.write_text(json.dumps(probe.to_dict()), encoding="utf-8")
        os.replace(partial, self._path(key))

    def _path(self, key: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{key}.json"
