"""Error reporting of the command line: one line and an exit status for every error."""

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import click

from tfx_feeder.common.errors import ConfigError, FeederError

TRACEBACK_VARIABLE = "TFX_FEEDER_TRACEBACK"
"""Environment variable that shows the traceback of an unexpected error."""
_MAX_CHARS = 1_500


class ErrorReporting(click.Command):
    """Click command that reports every error in one line, without a traceback.

    The exit status is 2 for wrong usage, which includes invalid files, and 1 for other errors.
    """

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Runs the command as a program; takes the arguments of ``click.Command.main``."""
        # File names may contain bytes, and tables characters, that the terminal does not know.
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        for name in ("COLUMNS", "LINES"):  # Rich fails on digits such as "²".
            if not os.environ.get(name, "0").isdecimal():
                del os.environ[name]
        return super().main(*arguments, **options)

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        """Parses the command line; takes the arguments of ``click.Command.make_context``."""
        with _errors_in_one_line():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command.

        Args:
            ctx: Context of the command.

        Raises:
            ClickException: The command failed; click prints the message.
        """
        with _errors_in_one_line():
            return super().invoke(ctx)


class ErrorReportingGroup(ErrorReporting, click.Group):
    """Group that reports every error of its commands in one line, without a traceback."""


class _WrongUsage(click.ClickException):
    exit_code = 2


@contextmanager
def _errors_in_one_line() -> Iterator[None]:
    try:
        yield
    except (click.exceptions.Exit, click.Abort):
        raise
    except click.ClickException as error:
        # The message, declared as final, may quote an argument of any length.
        vars(error)["message"] = _shorten(error.message)
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.EPIPE:
            raise  # Nobody reads the output; click exits quietly.
        message = _message(error)
        if message is None:
            if os.environ.get(TRACEBACK_VARIABLE):
                raise
            # `tfx-feeder --help` does not need the module.
            cause = import_module("tfx_feeder.pipeline.runner.launch").root_cause(error)
            message = f"{cause}. Set {TRACEBACK_VARIABLE}=1 to see where."
        kind = _WrongUsage if isinstance(error, ConfigError) else click.ClickException
        raise kind(_shorten(message)) from error


def _message(error: Exception) -> str | None:
    """Returns the message of an error that is not the fault of this program, or ``None``."""
    if isinstance(error, FeederError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        names = [os.fsdecode(name) for name in (error.filename, error.filename2) if name]
        return ": ".join((*names, error.strerror))
    # Light commands do not import ML Metadata.
    metadata_errors = sys.modules.get("ml_metadata.errors")
    if metadata_errors is not None and isinstance(error, metadata_errors.StatusError):
        return f"The ML Metadata store returned an error: {error}. Try again."
    return None


def _shorten(text: str) -> str:
    if len(text) <= _MAX_CHARS:
        return text
    half = _MAX_CHARS // 2
    return f"{text[:half]} ... {text[-half:]}"
