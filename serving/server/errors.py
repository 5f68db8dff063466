"""Errors of the model server, with the status codes of gRPC."""

from collections.abc import Mapping

import grpc

Code = grpc.StatusCode

HTTP_STATUS: Mapping[grpc.StatusCode, int] = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}
"""HTTP status of each code, as TensorFlow Serving maps them."""
_BY_NUMBER = {code.value[0]: code for code in Code}
_MOST_CHARACTERS = 1_000


class ServingError(Exception):
    """Request that cannot be answered.

    Args:
        code: Status code of gRPC.
        message: Reason, for the client; long ones are cut.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        self.code = code
        self.message = message if len(message) <= _MOST_CHARACTERS else message[:997] + "..."
        super().__init__(self.message)


def invalid(message: str) -> ServingError:
    """Returns the error of a request that is wrong in itself."""
    return ServingError(Code.INVALID_ARGUMENT, message)


def from_tensorflow(error: Exception) -> ServingError:
    """Returns the error of a model that failed.

    Args:
        error: Raised by TensorFlow; an ``OpError`` tells its code.
    """
    code = _BY_NUMBER.get(getattr(error, "error_code", -1), Code.INTERNAL)
    return ServingError(code, str(getattr(error, "message", None) or error))
