"""Suppresses the messages that libraries print while they are imported."""

import gc
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

_ENVIRONMENT = {
    # TensorFlow's C++ code reports the absence of GPUs, the instruction set, and factories that
    # register twice, as errors (2). Actual errors are raised as Python exceptions as well.
    "TF_CPP_MIN_LOG_LEVEL": "3",
    # gRPC's C++ code reports forks and closed connections of ML Metadata and Beam.
    "GRPC_VERBOSITY": "ERROR",
    # ML Metadata's C++ code logs each connection to a database server; errors (2) remain visible.
    "GLOG_minloglevel": "2",
}


def quiet_imports(*modules: str) -> None:
    """Imports TensorFlow and TFX without their banners and warnings, and faster than usual.

    Environment variables that are already set take precedence: ``TF_CPP_MIN_LOG_LEVEL=0`` shows
    TensorFlow's later messages again.

    Args:
        *modules: Names of the modules to import; by default ``tfx.v1``, which imports TensorFlow
            and Beam.

    Raises:
        ImportError: A module is missing; the suppressed messages are then shown.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # Google's client libraries warn about versions of Python, gRPC and storage that TFX itself
    # requires, so users cannot change them.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"google\.")
    # TensorFlow 2.21 prints messages during its import, before it reads its log level.
    with _buffered_stderr(), _without_gc():
        for module in modules or ("tfx.v1",):
            import_module(module)


@contextmanager
def _without_gc() -> Iterator[None]:
    """Excludes imported objects, which live until the process exits, from garbage collection.

    Traversing the objects of TFX repeatedly takes about an eighth of the import time, and more
    than a second at the exit of the process.
    """
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


@contextmanager
def _buffered_stderr() -> Iterator[None]:
    """Buffers output on file descriptor 2, including that of C++ code; shows it on failure."""
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as buffer:
        os.dup2(buffer.fileno(), 2)
        failed = True
        try:
            yield
            failed = False
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            if failed:
                buffer.seek(0)
                sys.stderr.write(buffer.read().decode(errors="replace"))
