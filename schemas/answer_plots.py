"""Data of the plots of a classifier, which ``eval_gate.plot_metrics`` adds to an evaluation."""

import base64
import binascii
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfx_feeder.schemas.evaluation import slice_key
from tfx_feeder.schemas.tfma import read_metrics

CONFUSION, RELIABILITY = "plot_confusion", "plot_reliability"
LOST, WON = "plot_lost", "plot_won"
BINS, KEPT = 10, 24
"""Number of intervals of the confidence, and of examples kept on each side."""
_BASELINE = "baseline"
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Predictions of similar confidence.

    Args:
        examples: Number of predictions.
        confidence: Mean confidence, 0 to 1.
        accuracy: Fraction of them that is right.
    """

    examples: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class DifferingExample:
    """Example on which only one of both models is right.

    Args:
        label: Class of the example.
        candidate: Class that the candidate predicts.
        baseline: Class that the baseline predicts.
        image: Small PNG in base64; empty without an image.
    """

    label: int
    candidate: int
    baseline: int
    image: str = ""


@dataclass(frozen=True, slots=True)
class AnswerPlots:
    """Data of the plots over all examples.

    Args:
        confusion: Number of examples by label (rows) and prediction of the candidate; empty if
            there are too many classes.
        reliability: Reliability of the candidate by confidence.
        baseline_reliability: The same of the baseline; empty without one.
        lost: Examples that only the baseline answers right.
        won: Examples that only the candidate answers right.
    """

    confusion: tuple[tuple[int, ...], ...] = ()
    reliability: tuple[ReliabilityBin, ...] = ()
    baseline_reliability: tuple[ReliabilityBin, ...] = ()
    lost: tuple[DifferingExample, ...] = ()
    won: tuple[DifferingExample, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.confusion or self.reliability)


def calibration_error(bins: Sequence[ReliabilityBin]) -> float:
    """Returns the expected calibration error: the mean distance of confidence and accuracy.

    Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning",
    AAAI 2015.
    """
    total = sum(each.examples for each in bins)
    return sum(e.examples * abs(e.confidence - e.accuracy) for e in bins) / total if total else 0.0


def read_plots(folder: Path) -> AnswerPlots:
    """Reads the data of the plots from an evaluation; empty if it has none.

    Args:
        folder: Folder of the ``ModelEvaluation`` artifact.

    Raises:
        DataError: The evaluation cannot be read.
    """
    for message in read_metrics(folder):
        if not slice_key(message):
            return _plots(message)
    return AnswerPlots()


def _plots(message: Any) -> AnswerPlots:
    found: dict[tuple[str, bool], Any] = {
        (pair.key.name, pair.key.model_name == _BASELINE): pair.value.array_value
        for pair in message.metric_keys_and_values
        # The Evaluator adds the differences of all values of both models.
        if pair.key.name in (CONFUSION, RELIABILITY, LOST, WON) and not pair.key.is_diff
    }
    return AnswerPlots(
        confusion=tuple(_rows(found.get((CONFUSION, False)))),
        reliability=tuple(_bins(found.get((RELIABILITY, False)))),
        baseline_reliability=tuple(_bins(found.get((RELIABILITY, True)))),
        lost=tuple(_examples(found.get((LOST, False)))),
        won=tuple(_examples(found.get((WON, False)))),
    )


def _rows(array: Any) -> Iterator[tuple[int, ...]]:
    if array is not None and array.shape and array.shape[0]:
        width = array.shape[-1]
        values = list(array.int64_values)
        for start in range(0, len(values), width):
            yield tuple(values[start : start + width])


def _bins(array: Any) -> Iterator[ReliabilityBin]:
    values = [] if array is None else list(array.float64_values)
    for start in range(0, len(values) - 2, 3):
        examples, confidence, right = values[start : start + 3]
        if examples:
            yield ReliabilityBin(round(examples), confidence / examples, right / examples)


def _examples(array: Any) -> Iterator[DifferingExample]:
    for text in () if array is None else array.bytes_values:
        try:
            record = json.loads(text)
            image = str(record["image"])
            # Only PNG files are shown, whoever wrote the evaluation.
            known = base64.b64decode(image, validate=True).startswith(_PNG)
            yield DifferingExample(
                int(record["label"]),
                int(record["candidate"]),
                int(record["baseline"]),
                image if known else "",
            )
        except (ValueError, LookupError, TypeError, binascii.Error):
            continue
