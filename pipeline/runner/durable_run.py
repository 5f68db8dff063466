"""Outputs of a run that survive a power failure, and those of an earlier run that did not."""
# The client of ML Metadata declares no exports.
# pyright: reportPrivateImportUsage=false

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import ml_metadata as mlmd
from ml_metadata import ListOptions, OrderByField

from tfx_feeder.common.files import sync_filesystem
from tfx_feeder.components.feeder_trainer.training import progress
from tfx_feeder.pipeline.metadata.integrity import forget_damaged
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.unsynced import remove_marker, write_marker

_STARTS = "Component %s is running."
"""Log message of TFX's local runner, at which the outputs of earlier components are complete."""


@contextlib.contextmanager
def durable_outputs(store: mlmd.MetadataStore, lineage: Lineage, root: Path) -> Iterator[None]:
    """Flushes the outputs of a run to the disk, when a component starts and when the body ends.

    Before the body, artifacts that are damaged or may have been lost in a power failure are marked
    as deleted, so that the run writes them again.

    Args:
        store: Store of the pipeline, open for writing.
        lineage: Lineage of the pipeline in the same store.
        root: Root of the pipeline; nothing is flushed if it does not exist on this machine.

    Raises:
        OSError: The disk did not take the data.
    """
    if not root.is_dir():
        yield
        return
    for damaged in forget_damaged(store, lineage.artifacts()):
        message = f"{damaged}. It is not used any more, and made again where it is needed."
        progress.LOGGER.warning(message, extra={"warning": message})
    synced = _Synced(store, root)
    synced.flush_outputs()
    logger = logging.getLogger("absl")
    logger.addHandler(synced)
    try:
        yield
    finally:
        logger.removeHandler(synced)
        sync_filesystem(root)
        remove_marker(root)


class _Synced(logging.Handler):
    """Flushes the file system whenever a component starts, and records that in the marker."""

    def __init__(self, store: mlmd.MetadataStore, root: Path) -> None:
        super().__init__(logging.INFO)
        self._store = store
        self._root = root

    def emit(self, record: logging.LogRecord) -> None:
        """Flushes at the start of a component; an error is raised at the end of the run."""
        if record.msg == _STARTS:
            with contextlib.suppress(OSError, mlmd.errors.StatusError):
                self.flush_outputs()

    def flush_outputs(self) -> None:
        """Flushes the file system and advances the marker."""
        options = ListOptions(limit=1, order_by=OrderByField.ID, is_asc=False)
        newest = [artifact.id for artifact in self._store.get_artifacts(options)]
        sync_filesystem(self._root)
        write_marker(self._root, max(newest, default=0))
