"""Loss of saved models on serialized Examples."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfx_feeder.common.errors import DataError
from tfx_feeder.components.slice_gen.model_loss import ModelLoss
from tfx_feeder.components.slice_gen.options import LossOptions


def _save(folder: Path, width: int, *, outputs=("scores",), dtype=tf.float32) -> str:
    """Saves a model that returns the feature ``x``."""
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def serve(examples):
        x = tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([width], tf.float32)})["x"]
        x = tf.as_string(x, precision=0) if dtype == tf.string else tf.cast(x, dtype)
        return dict.fromkeys(outputs, x)

    module.serve = serve
    tf.saved_model.save(module, str(folder), {"serving_default": serve})
    return str(folder)


def _example(*x: float) -> bytes:
    feature = tf.train.Feature(float_list=tf.train.FloatList(value=x))
    features = tf.train.Features(feature={"x": feature} if x else {})
    return tf.train.Example(features=features).SerializeToString()


def _losses(folder: str, pairs, **options):
    examples, labels = zip(*pairs, strict=True)
    losses, reasons = ModelLoss(folder, LossOptions("label", **{"kind": "error"} | options))(
        [_example(*x) for x in examples], labels
    )
    return [None if math.isnan(loss) else loss for loss in losses], reasons


def test_scores_of_classes(tmp_path: Path) -> None:
    folder = _save(tmp_path, 3)
    pairs = [
        ([0.1, 0.7, 0.2], 1),
        ([0.1, 0.7, 0.2], 2),
        ([math.nan, 0.7, 0.2], 1),
        ([0.1, 0.7, 0.2], None),
        ([0.1, 0.7, 0.2], 3),
        ([0.1, 0.7, 0.2], b"b"),
        ([], 1),  # The model cannot parse it.
        ([0.9, 0.7, 0.2], 0),
    ]
    losses, reasons = _losses(folder, pairs)
    assert losses == [0, 1, None, None, None, None, None, 0]
    assert reasons == Counter(
        {
            "the prediction is not finite": 1,
            "the label is missing": 1,
            "the label is no class of the model": 2,
            "the model fails": 1,
        }
    )
    named, _ = _losses(folder, [([0, 1, 0], b"b"), ([0, 1, 0], b"c")], classes=("a", "b", "c"))
    assert named == [0, 1]


def test_single_scores_and_numbers(tmp_path: Path) -> None:
    folder = _save(tmp_path, 1)
    pairs = [([0.6], 1), ([0.6], 0), ([0.4], 0), ([0.4], 7)]
    assert _losses(folder, pairs)[0] == [0, 1, 0, None]
    assert _losses(folder, pairs, threshold=0.7)[0] == [1, 0, 0, None]
    numbers = [([3.0], 1.0), ([1.0], 3), ([1.0], b"x"), ([1.0], math.nan)]
    assert _losses(folder, numbers, kind="squared_error")[0] == [4, 4, None, None]
    assert _losses(folder, numbers, kind="absolute_error")[0] == [2, 2, None, None]


@pytest.mark.parametrize(("dtype", "label", "other"), [(tf.int64, 5, 6), (tf.string, b"5", b"6")])
def test_predicted_classes(tmp_path: Path, dtype, label, other) -> None:
    folder = _save(tmp_path, 1, dtype=dtype)
    assert _losses(folder, [([5.0], label), ([5.0], other)])[0] == [0, 1]


def test_models_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    folder = _save(tmp_path / "two", 1, outputs=("a", "b"))
    assert _losses(folder, [([0.6], 1)], output="b")[0] == [0]
    for options in ({}, {"output": "c"}):
        with pytest.raises(DataError, match="outputs a, b"):
            ModelLoss(folder, LossOptions("label", **options))
    with pytest.raises(DataError, match="no signature 'other'; it has serving_default"):
        ModelLoss(folder, LossOptions("label", signature="other"))
    of_numbers = tf.function(lambda x: {"y": x}).get_concrete_function(
        tf.TensorSpec([None], tf.float32, "x")
    )
    signatures = {"serving_default": of_numbers}
    tf.saved_model.save(tf.Module(), str(tmp_path / "numbers"), signatures)
    with pytest.raises(DataError, match="takes x instead of serialized Examples"):
        ModelLoss(str(tmp_path / "numbers"), LossOptions("label"))


def test_a_large_batch_of_good_and_bad_examples(tmp_path: Path) -> None:
    folder = _save(tmp_path, 1)
    pairs = [([float(n % 2)] if n % 50 else [], n % 2) for n in range(200)]
    losses, reasons = _losses(folder, pairs)
    assert np.flatnonzero([loss is None for loss in losses]).tolist() == [0, 50, 100, 150]
    assert reasons == Counter({"the model fails": 4})


def test_a_model_that_fails_on_everything_is_not_tried_for_ever(tmp_path, caplog):
    loss = ModelLoss(_save(tmp_path / "m", 1), LossOptions("label", kind="error"))
    calls, predict = [], loss._predict
    loss._predict = lambda serialized: (calls.append(1), predict(serialized))[1]
    losses, reasons = loss([_example()] * 5_000, [1] * 5_000)
    assert np.isnan(losses).all()
    assert reasons == {"the model fails": 5_000}
    assert len(calls) < 2_000
    assert [record.message.startswith("the model fails on an example") for record in caplog.records]
    # It is still tried on each batch, and one that has answered on every example.
    assert np.isfinite(loss([_example(1.0)], [1])[0]).all()
    mixed = [_example(1.0), *[_example()] * 700, _example(1.0)]
    loss = ModelLoss(_save(tmp_path / "n", 1), LossOptions("label", kind="error"))
    losses, reasons = loss(mixed, [1] * 702)
    assert reasons == {"the model fails": 700}
    assert np.isfinite(losses[[0, -1]]).all()
