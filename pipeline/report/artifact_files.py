"""Finds the artifacts of a run and reads their files, or says why it cannot."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from tfx_feeder.common.errors import DataError
from tfx_feeder.pipeline.metadata.describe import files_gone, is_local
from tfx_feeder.pipeline.metadata.types import SUCCEEDED, Artifact, Run
from tfx_feeder.pipeline.report.facts import Unavailable

T = TypeVar("T")


def made(run: Run, type_name: str, key: str | None = None) -> Iterator[Artifact]:
    """Yields the artifacts that a run made or took from an earlier one.

    Args:
        run: With the artifacts of its executions.
        type_name: Such as ``Model``.
        key: Output key; ``None``: any.
    """
    for execution in run.executions:
        if execution.state in SUCCEEDED:
            for output, artifacts in execution.outputs.items():
                if key in (None, output):
                    yield from (a for a in artifacts if a.type_name == type_name)


def read_files(
    artifact: Artifact | None, read: Callable[[Path], T], *, absent: str = ""
) -> T | Unavailable:
    """Reads the files of an artifact.

    Args:
        artifact: ``None`` where the run has no such.
        read: Reads its folder; raises DataError where it cannot.
        absent: What to say where there is no artifact; empty where nobody will be told.
    """
    if artifact is None:
        return Unavailable(absent)
    name = f"{artifact.type_name} {artifact.id}"
    if not is_local(artifact.uri):
        return Unavailable(f"The files of {name} lie elsewhere: {artifact.uri}")
    if files_gone(artifact):
        return Unavailable(f"The files of {name} are gone: {artifact.path}")
    try:
        return read(artifact.path)
    except DataError as error:
        return Unavailable(str(error))
