"""Reads a protocol buffer from a file."""

import warnings
from pathlib import Path
from typing import TypeVar

from google.protobuf.message import Message

from tfx_feeder.common.errors import DataError

M = TypeVar("M", bound=Message)


def read_message(kind: type[M], path: Path) -> M:
    """Reads one message.

    Raises:
        DataError: The file cannot be read, or holds something else.
    """
    message = kind()
    try:
        content = path.read_bytes()
        with warnings.catch_warnings():
            # Some releases of protobuf warn of what is left over, where others raise.
            warnings.simplefilter("error")
            message.ParseFromString(content)
    except Exception as error:  # Of a type that differs between implementations of protobuf.
        raise DataError(f"{path} cannot be read: {error.__cause__ or error}") from error
    return message
