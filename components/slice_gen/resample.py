"""Sampling of examples so that they resemble other ones."""

import math
from collections.abc import Iterator

import apache_beam as beam
import numpy as np
from scipy import special

from tfx_feeder.components.slice_gen.annotate import parse
from tfx_feeder.components.slice_gen.classifier_test import Separation
from tfx_feeder.components.slice_gen.feature_table import FeatureTable
from tfx_feeder.components.slice_gen.passes import ALL_HASHES, hash_of


class Acceptance:
    """Probability with which an example is kept, so that those that are kept resemble other ones.

    It is proportional to the odds of the classifier, which are the ratio of both densities up to a
    factor. Odds beyond ``clip`` times their mean count as much, at the price of some bias.

    Args:
        separation: Classifier that tells the other examples (its current ones) from those sampled.
        rows: Sample of the examples that are sampled, ``[examples, columns]``.
        clip: Largest ratio of the odds to their mean, above 1.
    """

    def __init__(self, separation: Separation, rows: np.ndarray, clip: float) -> None:
        scores = separation.scores(rows)
        mean = float(special.logsumexp(scores)) - math.log(len(scores))
        self._separation = separation
        self._highest = min(float(scores.max()), mean + math.log(clip))
        probabilities = self(rows)
        self.mean = float(probabilities.mean())

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Returns the probabilities, ``[examples]``.

        Args:
            rows: Rows of examples, ``[examples, columns]``.
        """
        scores = self._separation.scores(rows)
        return np.exp(np.minimum(scores - self._highest, 0))


class Resample(beam.DoFn):
    """Selects examples of batches with the probability that a classifier gives them.

    Args:
        acceptance: Probability of a row.
        table: Function from an example to its row.
        fraction: Factor of all probabilities, 0 to 1.
    """

    def __init__(self, acceptance: Acceptance, table: FeatureTable, fraction: float) -> None:
        self._acceptance = acceptance
        self._table = table
        self._fraction = fraction

    def process(self, batch: list[bytes]) -> Iterator[bytes]:
        """Yields the examples that are selected.

        Args:
            batch: Serialized Examples.
        """
        rows = np.stack([self._table(parse(serialized)) for serialized in batch])
        limits = self._acceptance(rows) * self._fraction
        for serialized, limit in zip(batch, limits, strict=True):
            if hash_of(serialized) < limit * ALL_HASHES:
                yield serialized
