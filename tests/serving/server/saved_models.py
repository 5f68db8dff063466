"""Small SavedModels."""

from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from tfx_feeder.serving.server.saved_model import CLASSIFY, REGRESS

WARM_UP = Path("assets.extra") / "tf_serving_warmup_requests"


class _Scaled(tf.Module):
    """Multiplies by a factor; classifies and regresses the feature ``x`` of Examples."""

    def __init__(self, factor: float, width: int) -> None:
        self.factor = tf.Variable(factor)
        self.width = width

    @tf.function
    def scale(self, x: Any) -> dict[str, Any]:
        return {"scaled": x * self.factor}

    @tf.function
    def add(self, a: Any, b: Any) -> dict[str, Any]:
        return {"sum": a + b, "text": tf.strings.as_string(a), "raw_bytes": tf.strings.as_string(b)}

    @tf.function
    def echo(self, text: Any) -> dict[str, Any]:
        return {"text": text}

    @tf.function
    def fail(self, x: Any) -> dict[str, Any]:
        with tf.control_dependencies([tf.debugging.assert_less(x, 10.0, "x is too large")]):
            return {"x": tf.identity(x)}

    def _parsed(self, examples: Any) -> Any:
        spec = {"x": tf.io.FixedLenFeature([], tf.float32)}
        return tf.io.parse_example(examples, spec)["x"] * self.factor

    @tf.function
    def classify(self, inputs: Any) -> dict[str, Any]:
        score = tf.sigmoid(self._parsed(inputs))
        classes = tf.tile([["negative", "positive"]], [tf.size(score), 1])
        return {"classes": classes, "scores": tf.stack([1 - score, score], axis=1)}

    @tf.function
    def regress(self, inputs: Any) -> dict[str, Any]:
        return {"outputs": self._parsed(inputs)}


def save(folder: Path, factor: float = 2.0, width: int = 2) -> Path:
    """Writes a model whose ``serving_default`` multiplies float32 ``[batch, width]``.

    ``saved_model.pb`` appears last, as a Pusher writes it.
    """
    module = _Scaled(factor, width)
    floats = tf.TensorSpec([None, width], tf.float32, "x")
    text = tf.TensorSpec([None], tf.string, "inputs")
    integers = {name: tf.TensorSpec([None], tf.int64, name) for name in "ab"}
    signatures = {
        "serving_default": module.scale.get_concrete_function(floats),
        "add": module.add.get_concrete_function(**integers),
        "echo": module.echo.get_concrete_function(tf.TensorSpec([None], tf.string, "text")),
        "fail": module.fail.get_concrete_function(tf.TensorSpec([None], tf.float32, "x")),
        "classify": module.classify.get_concrete_function(text),
        "regress": module.regress.get_concrete_function(text),
    }
    written = folder.with_name(f"writing-{folder.name}")
    tf.saved_model.save(module, str(written), signatures)
    updater = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(str(written))
    updater.replace_method_name("classify", CLASSIFY)
    updater.replace_method_name("regress", REGRESS)
    updater.save(str(written))
    written.rename(folder)
    return folder


def add_warm_up(folder: Path, *rows: list[float], signature: str = "serving_default") -> None:
    """Adds warm-up requests to a model."""
    (folder / WARM_UP.parent).mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(folder / WARM_UP)) as writer:
        for row in rows:
            request = predict_pb2.PredictRequest()
            request.model_spec.signature_name = signature
            request.inputs["x"].CopyFrom(tf.make_tensor_proto([row], tf.float32))
            log = prediction_log_pb2.PredictionLog(
                predict_log=prediction_log_pb2.PredictLog(request=request)
            )
            writer.write(log.SerializeToString())
