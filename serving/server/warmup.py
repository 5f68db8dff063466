"""Requests that a version answers before it serves.

Read from ``assets.extra/tf_serving_warmup_requests``: TFRecords of ``PredictionLog``.
"""

from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from tfx_feeder.serving.server import operations
from tfx_feeder.serving.server.errors import Code, ServingError
from tfx_feeder.serving.server.saved_model import SavedModel

FILE = Path("assets.extra") / "tf_serving_warmup_requests"
_MOST_RECORDS = 1_000


def warm_up(model: SavedModel, most_bytes: int) -> int:
    """Answers the warm-up requests of a model.

    Args:
        model: Loaded model.
        most_bytes: Largest size of an input.

    Returns:
        Number of requests; 0 without a file.

    Raises:
        ServingError: The file is damaged or too long, or a request failed.
    """
    path = model.folder / FILE
    if not path.is_file():
        return 0
    count = 0
    try:
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            if count == _MOST_RECORDS:
                raise ServingError(
                    Code.INVALID_ARGUMENT, f"more than {_MOST_RECORDS} warm-up requests"
                )
            _replay(model, prediction_log_pb2.PredictionLog.FromString(record), most_bytes)
            count += 1
    except (tf.errors.OpError, ValueError) as error:
        raise ServingError(Code.DATA_LOSS, f"{FILE}: {error}") from error
    return count


def _replay(model: SavedModel, log: prediction_log_pb2.PredictionLog, most_bytes: int) -> None:
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        operations.predict(model, log.predict_log.request, most_bytes)
    elif kind == "classify_log":
        request = log.classify_log.request
        operations.classify(model, request.model_spec.signature_name, request.input)
    elif kind == "regress_log":
        request = log.regress_log.request
        operations.regress(model, request.model_spec.signature_name, request.input)
    elif kind == "multi_inference_log":
        operations.multi_inference(model, log.multi_inference_log.request)
    else:
        raise ServingError(Code.UNIMPLEMENTED, f"{FILE}: a record of kind {kind}")
