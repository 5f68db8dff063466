"""Progress in log records: a line to read, and its values."""

import logging

import pytest

from tfx_feeder.components.feeder_trainer.training.progress import LOGGER, Progress, report_progress


def _progress(step: int, epochs: int | None = 30) -> Progress:
    return Progress(
        epoch=2,
        epochs=epochs,
        phase=0,
        step=step,
        steps=200,
        learning_rate=0.0025,
        batch_size=128,
        examples_per_s=4321.4,
        metrics={"loss": 0.5, "val_accuracy": 0.98765},
    )


def test_a_line_says_where_the_training_stands() -> None:
    assert str(_progress(step=200)) == (
        "epoch 3/30 step 200/200 lr 0.0025 batch 128 4,321 examples/s loss 0.5000 "
        "val_accuracy 0.9877"
    )


def test_an_open_ended_training_shows_no_total() -> None:
    assert str(_progress(step=1, epochs=None)).startswith("epoch 3 step 1/200 ")


@pytest.mark.parametrize(("step", "level"), [(100, logging.DEBUG), (200, logging.INFO)])
def test_the_end_of_an_epoch_is_louder(
    caplog: pytest.LogCaptureFixture, step: int, level: int
) -> None:
    progress = _progress(step)

    with caplog.at_level(logging.DEBUG, logger=LOGGER.name):
        report_progress(progress)

    (record,) = caplog.records
    assert record.levelno == level
    assert record.getMessage() == str(progress)
    assert record.progress is progress  # type: ignore[attr-defined]
