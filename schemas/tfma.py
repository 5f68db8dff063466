"""Reader of TensorFlow Model Analysis output that does not import TFMA.

Importing TFMA takes seconds and loads TensorFlow, but its files are merely protocol buffers in
TFRecord framing. The fields needed here are declared below with their wire numbers, which are part
of the file format. Undeclared fields are skipped.
"""
# The message classes are created at run time.
# pyright: reportAttributeAccessIssue=false

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from tfx_feeder.common.errors import DataError
from tfx_feeder.common.tfrecord import RecordError, read_records

_PACKAGE = "tfx_feeder.tfma"
_SCALARS = {
    "bool": descriptor_pb2.FieldDescriptorProto.TYPE_BOOL,
    "bytes": descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
    "double": descriptor_pb2.FieldDescriptorProto.TYPE_DOUBLE,
    "enum": descriptor_pb2.FieldDescriptorProto.TYPE_INT32,
    "float": descriptor_pb2.FieldDescriptorProto.TYPE_FLOAT,
    "int32": descriptor_pb2.FieldDescriptorProto.TYPE_INT32,
    "int64": descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
}
# "name type number", after metrics_for_slice.proto and validation_result.proto of TFMA. A star
# marks repeated fields, a bar the members of a oneof.
_MESSAGES: Mapping[str, str] = {
    "Double": "value double 1",
    "Int32": "value int32 1",
    "Bool": "value bool 1",
    "SingleSliceKey": "column string 1, |bytes_value bytes 2, |float_value float 3, "
    "|int64_value int64 4",
    "SliceKey": "*single_slice_keys SingleSliceKey 1",
    "SubKey": "class_id Int32 1, k Int32 2, top_k Int32 3",
    "AggregationType": "micro_average bool 1, macro_average bool 2, weighted_macro_average bool 3",
    "MetricKey": "name string 1, output_name string 2, sub_key SubKey 3, model_name string 4, "
    "is_diff bool 5, aggregation_type AggregationType 6, example_weighted Bool 7",
    "BoundedValue": "lower_bound Double 1, upper_bound Double 2, value Double 3",
    "TDistributionValue": "sample_mean Double 1, unsampled_value Double 4",
    "ArrayValue": "data_type enum 1, *shape int32 2, *bytes_values bytes 3, *int64_values int64 5, "
    "*float64_values double 7",
    "MetricValue": "double_value Double 1, bounded_value BoundedValue 2, "
    "array_value ArrayValue 7, t_distribution_value TDistributionValue 9",
    "Int64": "value int64 1",
    "ConfidenceInterval": "standard_error MetricValue 3, degrees_of_freedom Int64 4",
    "MetricKeyAndValue": "key MetricKey 1, value MetricValue 2, "
    "confidence_interval ConfidenceInterval 3",
    "CrossSliceKey": "baseline_slice_key SliceKey 1, comparison_slice_key SliceKey 2",
    "MetricsForSlice": "slice_key SliceKey 1, cross_slice_key CrossSliceKey 3, "
    "*metric_keys_and_values MetricKeyAndValue 51",
    "GenericValueThreshold": "lower_bound Double 1, upper_bound Double 2",
    "GenericChangeThreshold": "absolute Double 1, relative Double 2, direction enum 3",
    "MetricThreshold": "value_threshold GenericValueThreshold 1, "
    "change_threshold GenericChangeThreshold 2",
    "ValidationFailure": "metric_key MetricKey 1, metric_threshold MetricThreshold 2, "
    "metric_value MetricValue 3, message string 4",
    "MetricsValidationForSlice": "slice_key SliceKey 2, *failures ValidationFailure 3, "
    "cross_slice_key CrossSliceKey 4",
    "FeatureValue": "key string 1, value string 2",
    "SlicingSpec": "*feature_keys string 1, *feature_values FeatureValue 2",
    "ValidationResult": "validation_ok bool 1, "
    "*metric_validations_per_slice MetricsValidationForSlice 2, *missing_slices SlicingSpec 3, "
    "missing_thresholds bool 6, rubber_stamp bool 7",
}


def read_metrics(folder: Path) -> list[Any]:
    """Reads the metrics of all slices as ``MetricsForSlice`` messages.

    Raises:
        DataError: The metrics are missing or cannot be read.
    """
    paths = sorted(folder.glob("metrics*.tfrecord"))
    if not paths:
        raise DataError(f"No metrics in TFRecord files are in {folder}.")
    return [parse("MetricsForSlice", record, path) for path in paths for record in _records(path)]


def read_validation(folder: Path) -> Any | None:
    """Reads the validation as a ``ValidationResult`` message; ``None`` without thresholds.

    Raises:
        DataError: The validation cannot be read.
    """
    path = folder / "validations.tfrecord"
    if not path.is_file():
        return None
    record = next(_records(path), None)
    return None if record is None else parse("ValidationResult", record, path)


def _records(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            for record in read_records(file, verify_checksums=False):
                if isinstance(record, RecordError):
                    raise DataError(f"{path} cannot be read: {record.reason}.")
                yield record
    except (OSError, OverflowError, MemoryError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def parse(name: str, record: bytes, path: Path) -> Any:
    """Parses one message.

    Args:
        name: Name of the message in TFMA, such as ``MetricsForSlice``.
        record: Serialized message.
        path: File of the record, for the error message.

    Raises:
        DataError: The record is damaged.
    """
    message = _message_class(name)()
    try:
        message.ParseFromString(record)
    except Exception as error:  # Of a type that differs between implementations of protobuf.
        raise DataError(f"{path} is damaged: {error}") from error
    return message


@cache
def _message_class(name: str) -> Any:
    descriptor = _pool().FindMessageTypeByName(f"{_PACKAGE}.{name}")
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(descriptor)
    # Protobuf before 4.22.
    return message_factory.MessageFactory(_pool()).GetPrototype(descriptor)


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(
        name="tfx_feeder/tfma.proto", package=_PACKAGE, syntax="proto3"
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for declaration in fields.split(", "):
            _declare(message, declaration)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


def _declare(message: descriptor_pb2.DescriptorProto, declaration: str) -> None:
    name, type_name, number = declaration.split()
    field = message.field.add(
        name=name.lstrip("*|"), number=int(number), label=3 if name.startswith("*") else 1
    )
    if type_name in _SCALARS:
        field.type = _SCALARS[type_name]
    else:
        field.type = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
        field.type_name = f".{_PACKAGE}.{type_name}"
    if name.startswith("|"):
        field.oneof_index = 0
        if not message.oneof_decl:
            message.oneof_decl.add(name="kind")
