"""What the files of artifacts add to the facts about a run or a model."""
# The classes of messages are made at run time.
# pyright: reportAttributeAccessIssue=false

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from tfx_feeder.common.errors import DataError
from tfx_feeder.pipeline.metadata.describe import files_gone
from tfx_feeder.pipeline.metadata.models import EVALUATION, HISTORY
from tfx_feeder.pipeline.metadata.types import Artifact
from tfx_feeder.schemas import training_history
from tfx_feeder.schemas.evaluation import read_evaluation
from tfx_feeder.schemas.training_history import GIT_COMMIT, GIT_DIRTY

_Fact = tuple[tuple[str, str], str | float]
_SCHEMA, _SCHEMA_FILE = "Schema", "schema.pbtxt"
_DIGITS = 16
"""Hexadecimal digits of a hash, as in the fingerprints of code."""


def read(artifact: Artifact) -> list[_Fact]:
    """Reads what the files of an artifact say; nothing for most types.

    Raises:
        DataError: They cannot be read, or are gone.
        OSError: They cannot be read.
    """
    reader = _READERS.get(artifact.type_name)
    if reader is None:
        return []
    if files_gone(artifact):
        raise DataError(f"The files of {artifact.type_name} {artifact.id} are gone.")
    return list(reader(artifact.path))


def _schema(folder: Path) -> Iterator[_Fact]:
    content = (folder / _SCHEMA_FILE).read_bytes()
    yield ("schema", "hash"), hashlib.sha256(content).hexdigest()[:_DIGITS]
    try:
        schema = text_format.Parse(content, schema_pb2.Schema())
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise DataError(f"{folder / _SCHEMA_FILE} is no schema: {error}") from error
    for feature in schema.feature:
        name = feature.name
        feature.ClearField("name")
        yield ("schema", f"feature {name}"), text_format.MessageToString(feature, as_one_line=True)


def _history(folder: Path) -> Iterator[_Fact]:
    for name, value in training_history.read(folder).environment.items():
        yield ("code" if name in (GIT_COMMIT, GIT_DIRTY) else "environment", name), value


def _evaluation(folder: Path) -> Iterator[_Fact]:
    for row in read_evaluation(folder).rows:
        yield ("metrics", f"{row.metric} on {row.slice}"), row.candidate


_READERS: Mapping[str, Callable[[Path], Iterator[_Fact]]] = {
    EVALUATION: _evaluation,
    HISTORY: _history,
    _SCHEMA: _schema,
}
