"""Writes the scalars of a training history for TensorBoard."""

import os

import tensorflow as tf

from tfx_feeder.schemas.training_history import EpochRecord, History

_SCALARS = ("learning_rate", "global_batch_size", "examples_per_s", "step_ms_p50", "input_wait_pct")


def write_scalars(history: History, log_dir: str) -> None:
    """Writes one point per epoch over examples seen, with training and validation as two runs.

    Args:
        history: Training history.
        log_dir: Log folder for TensorBoard.
    """
    train = tf.summary.create_file_writer(os.path.join(log_dir, "train"))
    validation = tf.summary.create_file_writer(os.path.join(log_dir, "validation"))
    for row in history.epochs:
        for name, value in _training_scalars(row).items():
            with train.as_default(step=row.examples_seen):
                tf.summary.scalar(name, value)
        for name, value in row.metrics.items():
            if name.startswith("val_"):
                with validation.as_default(step=row.examples_seen):
                    tf.summary.scalar(f"epoch_{name.removeprefix('val_')}", value)
    train.close()
    validation.close()


def _training_scalars(row: EpochRecord) -> dict[str, float]:
    scalars = {f"feeder/{name}": getattr(row, name) for name in _SCALARS}
    metrics = {k: v for k, v in row.metrics.items() if not k.startswith("val_")}
    return scalars | {f"epoch_{name}": value for name, value in metrics.items()}
