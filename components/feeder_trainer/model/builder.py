"""Builds the model with the user's function and checks the result."""

import copyreg
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions
from tfx_feeder.components.feeder_trainer.feed.parsing import PARSE_BATCH_SIZE, ExampleParser
from tfx_feeder.components.feeder_trainer.feed.tfrecord import (
    compression_of,
    is_parquet,
    open_records,
)


def _partition(name: str, *values: Any) -> Any:
    return getattr(tf.io.RaggedFeature, name)(*values)


# A context is sent to other processes, but pickle cannot find the classes inside of RaggedFeature.
for _name in (
    "RowLengths",
    "RowLimits",
    "RowSplits",
    "RowStarts",
    "UniformRowLength",
    "ValueRowIds",
):
    copyreg.pickle(
        getattr(tf.io.RaggedFeature, _name),
        lambda each: (_partition, (type(each).__name__, *each)),
    )


@dataclass(frozen=True, slots=True)
class ModelContext:
    """Argument of ``model_fn``.

    Args:
        feature_spec: ``tf.io`` spec of each feature of the training examples by its name.
        feed: Options of the feed, which name label and images.
        hyperparameters: Best hyperparameters of a Tuner, if connected.
        custom_config: ``custom_config`` of FeederTrainer.
        schema: ``schema_pb2.Schema`` of the raw Examples, if connected.
        transform_graph_path: Folder of the transform graph, if connected.
        base_model_path: Folder of the base model's artifact, if there is one.
        train_files: Files of the training examples, which ``dataset`` reads.

    Example:
        A layer that is adapted to the training examples::

            normalization = keras.layers.Normalization(axis=None)
            normalization.adapt(context.dataset().map(lambda features, label: features["fare"]))
    """

    feature_spec: Mapping[str, Any]
    feed: FeedOptions
    hyperparameters: Mapping[str, Any] | None = None
    custom_config: Mapping[str, Any] | None = None
    schema: Any = None
    transform_graph_path: str | None = None
    base_model_path: str | None = None
    train_files: tuple[str, ...] = ()

    def dataset(self, batch_size: int = PARSE_BATCH_SIZE) -> tf.data.Dataset:
        """Returns one pass over the training examples, in the order of the files.

        Nothing is read before the dataset is iterated. Each process of a distributed training that
        calls ``model_fn`` reads the examples again.

        Args:
            batch_size: Number of examples in a batch.

        Returns:
            Batches ``(features,)``, ``(features, label)`` or ``(features, label, weight)`` of all
            features of the examples, with decoded images.

        Raises:
            ConfigError: There are no files, or they are in Parquet format.
        """
        if not self.train_files or any(map(is_parquet, self.train_files)):
            raise ConfigError(
                "ModelContext.dataset",
                received=list(self.train_files),
                expected="training examples in TFRecord files",
            )
        files = list(self.train_files), [compression_of(path) for path in self.train_files]
        records = tf.data.Dataset.from_tensor_slices(files).flat_map(open_records)
        return records.batch(batch_size).map(ExampleParser(self.feature_spec, self.feed))


def make_model(model_fn: Callable[[ModelContext], Any], context: ModelContext) -> keras.Model:
    """Calls ``model_fn`` and checks the model, inside the scope of the distribution strategy.

    Args:
        model_fn: User function that builds and compiles the model.
        context: Argument of ``model_fn``.

    Raises:
        ConfigError: The result is not a compiled Keras 3 model with an assignable learning rate,
            or was built before this call and therefore outside the scope.
    """
    created: set[int] = set()

    def record(next_creator: Callable[..., Any], **kwargs: Any) -> Any:
        variable = next_creator(**kwargs)
        created.add(id(variable))
        return variable

    with tf.variable_creator_scope(record):
        model = model_fn(context)
    if not isinstance(model, keras.Model):
        raise ConfigError(
            "model_fn",
            received=f"{type(model).__module__}.{type(model).__qualname__}",
            expected="a function that returns a keras.Model of Keras 3",
            fix="Build it with `import keras`; a model of tf_keras (TF_USE_LEGACY_KERAS=1) "
            "cannot be trained here.",
        )
    outside = [v.path for v in model.variables if id(v.value) not in created]
    if outside:
        raise ConfigError(
            "model_fn",
            received=f"a model whose variables existed before the call: {', '.join(outside[:3])}",
            expected="a model built inside model_fn",
            fix="Move the construction (or keras.models.load_model) into the function: variables "
            "must be created in the scope of the distribution strategy.",
        )
    if not model.compiled:
        raise ConfigError(
            "model_fn",
            received="a model that is not compiled",
            expected="a compiled model",
            fix="Call model.compile(optimizer=..., loss=..., metrics=[...]) before returning it.",
        )
    try:
        set_learning_rate(model, float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)))
    except (TypeError, AttributeError) as error:
        raise ConfigError(
            "model_fn",
            received="an optimizer with a LearningRateSchedule or a function as learning rate",
            expected="an optimizer with a plain learning rate",
            fix="Pass a float to the optimizer; FeederTrainer's schedule sets the learning rate.",
        ) from error
    return model


def set_learning_rate(model: keras.Model, learning_rate: float) -> None:
    """Assigns the learning rate without recompiling; optimizer slots are kept.

    Args:
        model: Compiled model.
        learning_rate: New learning rate.
    """
    model.optimizer.learning_rate = learning_rate


def learning_rate(model: keras.Model) -> float:
    """Returns the current learning rate."""
    return float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))


def input_names(model: keras.Model) -> list[str] | None:
    """Returns the names of a model's inputs, or ``None`` if the model does not declare them."""
    structure = _input_structure(model)
    if isinstance(structure, dict):
        return list(structure)
    return None if structure is None else [tensor.name for tensor in structure]


def _input_structure(model: keras.Model) -> dict[str, Any] | list[Any] | None:
    inputs = getattr(model, "inputs", None)
    if not inputs:
        return None
    structure = getattr(model, "input", None)
    return structure if isinstance(structure, dict) else list(inputs)


def feature_adapter(
    model: keras.Model, feature_names: list[str]
) -> Callable[[Mapping[str, Any]], Any]:
    """Returns a function that converts a dict of features to the inputs of the model.

    A functional model receives its inputs by name, in the declared structure; a single input takes
    a single feature regardless of the names. A subclassed model receives the tensor of a single
    feature, or else the dict.

    Args:
        model: Model to call.
        feature_names: Features that the feed delivers.

    Raises:
        ConfigError: The features lack an input of the model.
    """
    structure = _input_structure(model)
    names = input_names(model)
    if names is None:
        if len(feature_names) > 1:
            return dict
        names = feature_names
    elif len(names) == 1 and len(feature_names) == 1:
        renamed = dict(zip(names, feature_names, strict=True))
        if isinstance(structure, dict):
            return lambda features: {name: features[key] for name, key in renamed.items()}
        names = feature_names
    missing = sorted(set(names) - set(feature_names))
    if missing:
        raise ConfigError(
            "model_fn",
            received=f"a model with the inputs {missing}",
            expected=f"inputs among the features {feature_names}",
            fix="Name each keras.Input after its feature.",
        )
    if isinstance(structure, dict):
        return lambda features: {name: features[name] for name in names}
    if len(names) == 1:
        return lambda features: features[names[0]]
    return lambda features: [features[name] for name in names]
