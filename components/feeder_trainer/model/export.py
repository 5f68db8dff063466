"""Exports a trained model as a SavedModel whose signatures take raw Examples or tensors."""

import contextlib
import functools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.feed.parsing import ExampleParser
from tfx_feeder.components.feeder_trainer.model.raw_features import required_raw_features

SERVING_DEFAULT, TRANSFORM_FEATURES = "serving_default", "transform_features"
TENSORS = "serving_tensors"
"""Signature for tensors. TensorFlow Model Analysis prefers one named ``predict`` to
``serving_default`` and would call it with serialized Examples."""

_NO_NAME = re.compile(r"\W", re.ASCII)
"""Characters that the name of a signature's input cannot hold."""

Signatures = Mapping[str, Any]
"""A ``tf.function`` with an ``input_signature`` by the name of the signature."""


class RawExamples:
    """Path from serialized raw Examples to the inputs of a model.

    Args:
        spec: ``tf.io`` spec of each raw feature by its name.
        transform: Function from raw features to training features, with the resources to export,
            such as a Transform layer; ``None`` if they are the same.
        parser: Parser of the training features.
        adapt: Function from a dict of features to the inputs of the model.
    """

    def __init__(
        self,
        spec: Mapping[str, Any],
        transform: Callable[[dict[str, Any]], Mapping[str, Any]] | None,
        parser: ExampleParser,
        adapt: Callable[[Mapping[str, Any]], Any],
    ) -> None:
        self.transform = transform
        self.adapt = adapt
        self._spec = dict(spec)
        self._parser = parser

    def to_model_inputs(self, serialized: tf.Tensor) -> Any:
        """Returns the inputs of the model; only the features that they depend on are parsed.

        Args:
            serialized: Raw Examples, strings ``[batch]``.
        """
        features = tf.io.parse_example(serialized, self._required)
        features = self.transform(features) if self.transform else features
        names = self._parser.feature_names
        return self.adapt(self._parser.decode({name: features[name] for name in names}))

    def transform_features(self, serialized: tf.Tensor) -> dict[str, Any]:
        """Returns all training features, label and weight included.

        Args:
            serialized: Raw Examples with all features, strings ``[batch]``.
        """
        features = tf.io.parse_example(serialized, self._spec)
        return dict(self.transform(features) if self.transform else features)

    def tensor_specs(self) -> dict[str, Any]:
        """Returns the components ``[batch, ...]`` of each training feature that the model takes.

        Images are decoded; a sparse or ragged feature has several components.
        """
        return {name: self._components(name) for name in self._parser.feature_names}

    @functools.cached_property
    def _required(self) -> dict[str, Any]:
        names = self._parser.feature_names
        return required_raw_features(self._spec, self.transform or dict, names)

    def _components(self, name: str) -> dict[str, tf.TensorSpec]:
        spec, feature = self._parser.feature_spec[name], name
        name = _NO_NAME.sub("_", feature)
        if feature in self._parser.feed.images:
            shape = self._parser.feed.images[feature].shape
            return {"": tf.TensorSpec([None, *shape], tf.uint8, name)}
        if isinstance(spec, tf.io.FixedLenFeature):
            return {"": tf.TensorSpec([None, *spec.shape], spec.dtype, name)}
        if isinstance(spec, tf.io.RaggedFeature) and not spec.partitions:
            parts = {"values": ([None], spec.dtype), "row_splits": ([None], spec.row_splits_dtype)}
        elif isinstance(spec, (tf.io.VarLenFeature, tf.io.SparseFeature)):
            rank = (
                2 if isinstance(spec, tf.io.VarLenFeature) else 1 + len(tf.nest.flatten(spec.size))
            )
            parts = {
                "indices": ([None, rank], tf.int64),
                "values": ([None], spec.dtype),
                "dense_shape": ([rank], tf.int64),
            }
        else:
            return {}
        return {
            part: tf.TensorSpec(shape, dtype, f"{name}_{part}")
            for part, (shape, dtype) in parts.items()
        }


def export_serving(
    model: keras.Model, examples: RawExamples, folder: str, signatures: Signatures | None = None
) -> None:
    """Writes a SavedModel with these signatures.

    - ``serving_default``: from serialized raw Examples, strings ``[batch]``, in an input
      ``examples``, to the outputs of the model.
    - ``transform_features``: from serialized raw Examples to the transformed features, label
      included; absent without a transform.
    - ``serving_tensors``: from the training features by name, with the dtypes of the Examples, to
      the outputs of the model. A sparse feature has the components ``NAME_indices``,
      ``NAME_values`` and ``NAME_dense_shape``, a ragged one ``NAME_values`` and
      ``NAME_row_splits``. Other characters than letters and digits in a name are replaced by
      underscores. Absent for features whose names differ in such characters only, and for ragged
      features of more than one ragged dimension.

    Args:
        model: Trained model.
        examples: Path from raw Examples to the inputs of the model.
        folder: Folder of the SavedModel; created.
        signatures: Signatures of the user, in addition or instead of those with the same name.
    """
    archive = keras.export.ExportArchive()
    archive.track(model)
    if examples.transform is not None:
        archive.track(examples.transform)
    for name, function in {**_signatures(model, examples), **(signatures or {})}.items():
        function.get_concrete_function()  # Traced, or Keras refuses it.
        archive.add_endpoint(name, function)
    with _no_default_signature():
        archive.write_out(folder, verbose=False)


@contextlib.contextmanager
def _no_default_signature() -> Iterator[None]:
    """Keeps Keras from tracing a signature of its own, which takes dense float32 tensors.

    It would add nothing to the signatures of the archive, and fails for a subclassed model with
    strings, sparse or ragged tensors as inputs.
    """
    keras.Model._default_save_signature = None  # Hides the property of a base class.
    try:
        yield
    finally:
        del keras.Model._default_save_signature


def check_outputs(outputs: Any, signatures: Signatures | None) -> None:
    """Checks that a signature can return the outputs of a model.

    Args:
        outputs: Outputs of the model for some examples.
        signatures: Signatures of the user; those that replace all that return the outputs make the
            check unnecessary.

    Raises:
        ConfigError: The outputs are nested, or hold ``None``.
    """
    if {SERVING_DEFAULT, TENSORS} <= set(signatures or {}):
        return
    values: Any = [outputs]
    if isinstance(outputs, Mapping):
        values = outputs.values()
    elif isinstance(outputs, (list, tuple)):
        values = outputs
    if wrong := [value for value in values if not tf.is_tensor(value)]:
        raise ConfigError(
            "model_fn",
            received=f"a model whose outputs hold a {type(wrong[0]).__name__}",
            expected="a tensor, a list of tensors or a dict of them, because the model is exported",
            fix="Flatten the outputs, or replace the signatures serving_default and "
            "serving_tensors in signatures_fn.",
        )


def check_signatures(signatures: Any) -> Signatures:
    """Returns the result of ``signatures_fn`` if it can be exported.

    Raises:
        ConfigError: It is not a mapping from names to functions with an input signature.
    """
    valid = isinstance(signatures, Mapping) and all(
        isinstance(name, str) and getattr(function, "input_signature", None) is not None
        for name, function in signatures.items()
    )
    if not valid:
        raise ConfigError(
            "signatures_fn",
            received=signatures,
            expected="a dict from names to functions with @tf.function(input_signature=[...])",
        )
    return signatures


def _signatures(model: keras.Model, examples: RawExamples) -> dict[str, Any]:
    def signature(argument: Any) -> Callable[[Any], Any]:
        return functools.partial(tf.function, input_signature=[argument], autograph=False)

    serialized = tf.TensorSpec([None], tf.string, name="examples")

    @signature(serialized)
    def serve(serialized: tf.Tensor) -> Any:
        return model(examples.to_model_inputs(serialized), training=False)

    functions = {SERVING_DEFAULT: serve}
    if examples.transform is not None:
        functions[TRANSFORM_FEATURES] = signature(serialized)(examples.transform_features)
    components = examples.tensor_specs()
    names = [spec.name for spec in tf.nest.flatten(components)]
    if components and all(components.values()) and len(set(names)) == len(names):

        @signature(components)
        def serve_tensors(components: dict[str, dict[str, tf.Tensor]]) -> Any:
            features = {name: _assembled(parts) for name, parts in components.items()}
            return model(examples.adapt(features), training=False)

        functions[TENSORS] = serve_tensors
    return functions


def _assembled(parts: Mapping[str, tf.Tensor]) -> Any:
    """Returns the tensor with the components of ``RawExamples.tensor_specs``."""
    if "row_splits" in parts:
        ragged: Any = tf.RaggedTensor
        return ragged.from_row_splits(parts["values"], parts["row_splits"])
    if "indices" in parts:
        return tf.SparseTensor(parts["indices"], parts["values"], parts["dense_shape"])
    return parts[""]
