"""Labeled examples that differ from the traffic are sampled until they resemble it."""

import numpy as np
import pytest
import tensorflow as tf

from tfx_feeder.components.slice_gen.classifier_test import classifier_test
from tfx_feeder.components.slice_gen.feature_table import FeatureTable
from tfx_feeder.components.slice_gen.resample import Acceptance, Resample

TABLE = FeatureTable(numbers=("x",))


def example(x: float) -> bytes:
    made = tf.train.Example()
    made.features.feature["x"].float_list.value.append(x)
    return made.SerializeToString()


def test_what_is_kept_resembles_the_traffic() -> None:
    rng = np.random.default_rng(0)
    traffic = rng.normal(0.5, 1, (4000, 1)).astype(np.float32)
    labeled = rng.normal(-0.5, 1, (4000, 1)).astype(np.float32)
    acceptance = Acceptance(classifier_test(traffic, labeled), labeled, clip=10)
    batches = [[example(float(x)) for x in part] for part in np.split(labeled[:, 0], 8)]
    resample = Resample(acceptance, TABLE, 1.0)
    kept = [found for batch in batches for found in resample.process(batch)]
    xs = [tf.train.Example.FromString(e).features.feature["x"].float_list.value[0] for e in kept]
    assert np.mean(xs) == pytest.approx(0.5, abs=0.25)
    assert labeled.mean() < -0.4
    assert len(xs) == pytest.approx(acceptance.mean * 4000, rel=0.15)
    half = [found for batch in batches for found in Resample(acceptance, TABLE, 0.5).process(batch)]
    assert set(half) < set(kept)
