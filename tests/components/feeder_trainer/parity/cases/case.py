"""The form of a case, and the features, models and outcomes that several share.

Each case names the expected outcome of the modes that refuse it, by the words of the error, or
that compute something else by nature: BatchNormalization and random layers see parts of a batch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions

EXAMPLES = 17
"""Examples of each case: with batches of 8, the last of an epoch leaves one replica without any."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """A model and the data that it is trained on.

    Args:
        make: Function that returns the compiled model.
        rows: Function of a random generator that returns the features of one Example.
        spec: ``tf.io`` spec of each feature by its name.
        feed: Options of the feed.
        cells: Expected outcome, or outcomes, by mode; ``equal`` if not listed.
        eval_batch_size: Examples in a validation batch.
    """

    make: Callable[[], keras.Model]
    rows: Callable[[np.random.Generator], Row]
    spec: Mapping[str, Any]
    feed: FeedOptions = field(default_factory=lambda: FeedOptions(cache="none"))
    cells: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    eval_batch_size: int = 16

    def examples(self) -> list[Row]:
        """Returns the rows of the data set, always the same."""
        random = np.random.default_rng(7)
        return [self.rows(random) for _ in range(EXAMPLES)]


def dense(size: int = 1, dtype: Any = tf.float32) -> tf.io.FixedLenFeature:
    """Returns the spec of a feature ``[size]``, or of one value."""
    return tf.io.FixedLenFeature([size] if size > 1 else [], dtype)


AVERAGED = ("weight", "equal")
"""Outcomes of peer averaging, whose workers train on batches of their own between exchanges."""
MODES_WITH_PARTS = (
    "micro-batches",
    "mirrored",
    "central_storage",
    "multi_worker",
    "parameter_server_sync",
)
WHOLE_BATCHES = dict.fromkeys(MODES_WITH_PARTS, "refused")
"""Outcomes of a model that needs the whole batch in one pass."""
BY_PART = dict.fromkeys(WHOLE_BATCHES, "weight")
"""Outcomes of a model whose layers normalize or draw by part of a batch: the weights differ."""


def vector_row(random: np.random.Generator) -> Row:
    """Returns a vector of four numbers and whether their sum is positive."""
    x = random.normal(size=4)
    return {"x": x.tolist(), "label": float(x.sum() > 0)}


VECTOR = {"x": dense(4), "label": dense()}


def inputs_and_features() -> tuple[Any, Any]:
    """Returns the input of a model of vectors and its first layer's output ``[batch, 4]``."""
    inputs = keras.Input((4,), name="x")
    return inputs, keras.layers.Dense(4, "tanh")(inputs)


def regression(of: type[keras.Model] = keras.Model, **compiled: Any) -> keras.Model:
    """Returns a compiled regression of the vectors' labels.

    Args:
        of: Class of the model.
        compiled: Arguments of ``compile`` other than the defaults.
    """
    inputs, x = inputs_and_features()
    model = of(inputs, keras.layers.Dense(1)(x))
    model.compile(**{"optimizer": keras.optimizers.SGD(0.1), "loss": "mse"} | compiled)
    return model


UNLABELED = ({"x": dense(4)}, FeedOptions(label_key=None, cache="none"))
