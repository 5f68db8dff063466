"""Serving log: ``PredictionLog`` records or tf.Examples, read as serialized tf.Examples.

TensorFlow Serving's request logger, BulkInferrer and the model server of this suite write
``PredictionLog``. Records that cannot be used are counted by reason; the others are read.
"""
# Generated protobuf modules define their messages at run time only.
# pyright: reportAttributeAccessIssue=false

import gzip
import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from google.protobuf.message import DecodeError
from tensorflow.core.example import example_pb2
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import prediction_log_pb2

from tfx_feeder.common.errors import DataError
from tfx_feeder.common.tfrecord import GZIP_MAGIC, RecordError, read_records
from tfx_feeder.components.slice_gen.log_options import EXAMPLE, ServingLogOptions

_ANY = ServingLogOptions()
NOT_FINITE = "a logged prediction is not finite"
_FLOATS = {types_pb2.DT_FLOAT: np.dtype("<f4"), types_pb2.DT_DOUBLE: np.dtype("<f8")}
_REQUESTS = ("classify_log", "regress_log", "multi_inference_log")
_MOST_REASONS, _MOST_CHARACTERS = 100, 60
OTHER_REASONS = "other reasons"
"""Reason under which records are counted when there are too many distinct reasons."""
_MOST_SHARED_BYTES = 1 << 28
"""Limit for all copies of the features that the examples of one request share."""


@dataclass(slots=True)
class ServingLogCounts:
    """Numbers of a serving log, in the order of reading.

    Args:
        records: Number of records, including those that were set aside.
        examples: Number of examples; a request may hold several.
        set_aside: Number of records, or of examples within one, by reason.
        noted: Number of records that were read and have a defect, by defect.
    """

    records: int = 0
    examples: int = 0
    set_aside: Counter[str] = field(default_factory=Counter)
    noted: Counter[str] = field(default_factory=Counter)

    def add(self, parsed: "Parsed") -> None:
        """Counts one record.

        Reasons quote names that clients chose, so that only the first hundred are told apart.

        Args:
            parsed: Content of the record.
        """
        self.records += 1
        self.examples += len(parsed.examples)
        self.noted.update(parsed.noted)
        for reason in parsed.set_aside:
            known = reason in self.set_aside or len(self.set_aside) < _MOST_REASONS
            self.set_aside[reason if known else OTHER_REASONS] += 1


@dataclass(frozen=True, slots=True)
class Parsed:
    """Content of one record.

    Args:
        examples: Serialized tf.Examples.
        set_aside: Reasons for what was not read, one for each record or example.
        noted: Defects of a record that was read.
    """

    examples: tuple[bytes, ...] = ()
    set_aside: tuple[str, ...] = ()
    noted: tuple[str, ...] = ()


def log_files(folder: Path) -> tuple[Path, ...]:
    """Returns the files of a serving log, in order, without hidden ones and markers.

    No file is returned twice, also if links lead to it.

    Args:
        folder: Folder of the log, searched with all its subfolders, or a single file.

    Raises:
        DataError: There is no such folder or file, or a link leads out of the folder.
    """
    if folder.is_file():
        return (folder,)
    if not folder.is_dir():
        raise DataError(f"{folder} is neither a file nor a folder.")
    base, found = os.path.realpath(folder), {}
    for path in sorted(folder.rglob("*")):
        if any(part[0] in "._" for part in path.relative_to(folder).parts):
            continue
        target = os.path.realpath(path)
        if not Path(target).is_relative_to(base):
            raise DataError(f"{path} is a link out of the folder. Copy its target, or name it.")
        if path.is_file():
            # The file itself rather than a link to it.
            found[target] = min(found.get(target, path), path, key=Path.is_symlink)
    return tuple(sorted(found.values()))


def read_serving_log(
    files: Sequence[Path],
    options: ServingLogOptions = _ANY,
    counts: ServingLogCounts | None = None,
) -> Iterator[bytes]:
    """Reads a serving log record by record.

    Args:
        files: TFRecord files, compressed by gzip or not.
        options: Options of reading.
        counts: Counted while the examples are read.

    Yields:
        Serialized tf.Examples.
    """
    counts = counts if counts is not None else ServingLogCounts()
    for path in files:
        for record in _records(path):
            parsed = parse_record(record, options)
            counts.add(parsed)
            yield from parsed.examples


def _records(path: Path) -> Iterator[bytes | RecordError]:
    try:
        with path.open("rb") as file:
            compressed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
            file.seek(0)
            stream: IO[bytes] | gzip.GzipFile = gzip.GzipFile(fileobj=file) if compressed else file
            yield from read_records(stream)
    except OSError as error:
        yield RecordError(f"unreadable file: {type(error).__name__}")


def parse_record(record: bytes | RecordError, options: ServingLogOptions = _ANY) -> Parsed:
    """Returns the examples of one record.

    Args:
        record: Record of a TFRecord file.
        options: Options of reading.
    """
    if isinstance(record, RecordError):
        return Parsed(set_aside=(f"damaged record: {record.reason}",))
    if options.payload == EXAMPLE:
        return _checked([record])
    try:
        log = prediction_log_pb2.PredictionLog.FromString(record)
    except DecodeError:
        return Parsed(set_aside=("damaged record: not a PredictionLog",))
    kind = log.WhichOneof("log_type")
    if kind is None:
        return Parsed(set_aside=("no request",))
    if kind not in (*_REQUESTS, "predict_log"):
        return Parsed(set_aside=(f"request of another kind: {kind}",))
    request = getattr(log, kind).request
    other = _other_model(log, request, kind, options)
    if other:
        return Parsed(set_aside=(other,))
    parsed = _of_tensors(request.inputs) if kind == "predict_log" else _of_input(request.input)
    if parsed.examples and not all(map(math.isfinite, _numbers(getattr(log, kind).response, kind))):
        return replace(parsed, noted=(NOT_FINITE,))
    return parsed


def _numbers(response: Any, kind: str) -> Iterator[float]:
    """Yields the predicted numbers of a response."""
    if kind == "predict_log":
        for tensor in response.outputs.values():
            if tensor.dtype in _FLOATS:
                yield from tensor.float_val or tensor.double_val
                if tensor.tensor_content:
                    yield from np.frombuffer(tensor.tensor_content, _FLOATS[tensor.dtype]).tolist()
        return
    several = kind == "multi_inference_log"
    results = list(response.results) if several else []
    classified = [r.classification_result for r in results]
    regressed = [r.regression_result for r in results]
    if not several:
        (classified if kind == "classify_log" else regressed).append(response.result)
    for result in classified:
        yield from (
            found.score for by_class in result.classifications for found in by_class.classes
        )
    for result in regressed:
        yield from (found.value for found in result.regressions)


def _other_model(log: Any, request: Any, kind: str, options: ServingLogOptions) -> str:
    """Returns why a request is not for the model and its signatures; empty if it is."""
    # A multi-inference request names a model for each task, others name one in the request.
    tasks = [task.model_spec for task in request.tasks] if kind == "multi_inference_log" else []
    specs = tasks or ([] if kind == "multi_inference_log" else [request.model_spec])
    logged = log.log_metadata.model_spec
    names = {spec.name or logged.name for spec in specs}
    signatures = {spec.signature_name or logged.signature_name for spec in specs}
    signatures = {name or "serving_default" for name in signatures}
    if options.model and options.model not in names:
        return f"another model: {_listed(names) or 'unnamed'}"
    if options.signatures and not signatures & set(options.signatures):
        return f"another signature: {_listed(signatures)}"
    return ""


def _listed(names: set[str]) -> str:
    text = ", ".join(sorted(names))
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}..."


def _of_input(request: Any) -> Parsed:
    if request.WhichOneof("kind") != "example_list_with_context":
        return _kept(example.SerializeToString() for example in request.example_list.examples)
    shared = request.example_list_with_context
    # A request of 2 MB can stand for a terabyte.
    if shared.context.ByteSize() * len(shared.examples) > _MOST_SHARED_BYTES:
        return Parsed(set_aside=("context too large for the number of examples",))
    merged = []
    for example in shared.examples:
        # Features of an example take precedence over those of the context.
        whole = example_pb2.Example()
        whole.CopyFrom(shared.context)
        for name, values in example.features.feature.items():
            whole.features.feature[name].CopyFrom(values)
        merged.append(whole.SerializeToString())
    return _kept(merged)


def _of_tensors(inputs: Any) -> Parsed:
    tensors = list(inputs.values())
    if len(tensors) != 1 or tensors[0].dtype != types_pb2.DT_STRING:
        return Parsed(set_aside=("inputs are tensors, not serialized tf.Examples",))
    return _checked(list(tensors[0].string_val))


def _kept(examples: Any) -> Parsed:
    found = tuple(examples)
    return Parsed(found) if found else Parsed(set_aside=("request without examples",))


def _checked(records: Sequence[bytes]) -> Parsed:
    good, reasons = [], []
    for record in records:
        try:
            empty = not example_pb2.Example.FromString(record).features.feature
        except DecodeError:
            reasons.append("damaged record: not a tf.Example")
            continue
        if empty:
            reasons.append("tf.Example without features")
        else:
            good.append(record)
    if not records:
        reasons.append("request without examples")
    return Parsed(tuple(good), tuple(reasons))
