"""Protocol buffers in files."""

import warnings
from pathlib import Path
from typing import TypeVar

from google.protobuf.message import Message

from tfx_feeder.common.errors import DataError

M = TypeVar("M", bound=Message)


def read_message(kind: type[M], path: Path) -> M:
    """Reads one message from a file.

    Args:
        kind: Message type.
        path: Serialized message.

    Raises:
        DataError: The file cannot be read, or contains another type of message.
    """
    message = kind()
    try:
        content = path.read_bytes()
        with warnings.catch_warnings():
            # Some releases of protobuf warn about trailing bytes where others raise.
            warnings.simplefilter("error")
            message.ParseFromString(content)
    except Exception as error:  # The type differs between protobuf implementations.
        raise DataError(f"{path} cannot be read: {error.__cause__ or error}") from error
    return message
