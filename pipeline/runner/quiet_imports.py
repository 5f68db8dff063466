"""Keeps what libraries say while they are imported away from the user."""

import gc
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

_ENVIRONMENT = {
    # TensorFlow's C++ code: the absent GPU, the instruction set, and factories that register
    # twice, which it reports as errors (2). What matters comes as a Python exception as well.
    "TF_CPP_MIN_LOG_LEVEL": "3",
    # gRPC's C++ code reports forks and closed connections while MLMD and Beam work.
    "GRPC_VERBOSITY": "ERROR",
    # ML Metadata's C++ code tells of each connection to a database server; errors (2) may stay.
    "GLOG_minloglevel": "2",
}


def quiet_imports(*modules: str) -> None:
    """Imports TensorFlow and TFX without their banners and warnings, and sooner than otherwise.

    What the caller's environment sets already stays, so that ``TF_CPP_MIN_LOG_LEVEL=0`` shows
    TensorFlow's later messages again.

    Args:
        *modules: What to import; default: ``tfx.v1``, which brings TensorFlow and Beam.

    Raises:
        ImportError: A module is missing; what was said until then is shown.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # Google's client libraries come with TFX and warn of the Python, gRPC and storage versions
    # that TFX itself demands: nothing that a user could change.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"google\.")
    # TensorFlow 2.21 says some things while it is loaded, before it reads its log level.
    with _stderr_held_back(), _uncollected():
        for module in modules or ("tfx.v1",):
            import_module(module)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Keeps the garbage collector from what stays until the end, now and later.

    Looking through the objects that come with TFX, again and again, takes about an eighth of the
    time of an import, and at the end of the process more than a second.
    """
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


@contextmanager
def _stderr_held_back() -> Iterator[None]:
    """Holds back what is written to descriptor 2, by C++ code too; shows it after a failure."""
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        failed = True
        try:
            yield
            failed = False
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            if failed:
                held.seek(0)
                sys.stderr.write(held.read().decode(errors="replace"))
