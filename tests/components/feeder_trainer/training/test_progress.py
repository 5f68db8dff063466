"""Progress in log records: a line to read, and its values."""

import logging
from logging.handlers import BufferingHandler

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


@pytest.mark.parametrize("quiet", ["absl", "root"])
def test_a_pipeline_with_absl_verbosity_info_shows_each_epoch_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, quiet: str
) -> None:
    shown = BufferingHandler(100)
    monkeypatch.setattr(logging.getLogger(), "handlers", [shown])
    for name, logger in (("absl", "absl"), ("root", None)):
        level = logging.WARNING if name == quiet else logging.INFO
        caplog.set_level(level, logger=logger)

    report_progress(_progress(step=100))
    report_progress(_progress(step=200))

    assert [record.getMessage() for record in shown.buffer] == [str(_progress(step=200))]
