"""Error reporting of the command line: one line and an exit status."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from tfx_feeder.common.errors import ConfigError, FeederError


class ErrorReporting(click.Command):
    """Click command that reports expected errors in one line, without a traceback.

    Expected errors are those that the suite raises on purpose, and those of the ML Metadata store.

    Args:
        arguments: Positional arguments of ``click.Command``.
        error_status: Exit status of these errors.
        options: Keyword arguments of ``click.Command``.
    """

    def __init__(self, *arguments: Any, error_status: int = 1, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.error_status = error_status

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command; on an expected error, prints it and exits.

        Args:
            ctx: Context of the command.
        """
        try:
            return super().invoke(ctx)
        except Exception as error:
            message = _message(error)
            if message is None:
                raise
            click.echo(f"Error: {message}", err=True)
            ctx.exit(self.error_status)


class ErrorReportingGroup(ErrorReporting, click.Group):
    """Group that reports expected errors of its commands in one line, without a traceback."""


@contextmanager
def usage_errors() -> Iterator[None]:
    """Reports invalid option values as wrong usage, with exit status 2.

    Raises:
        UsageError: A ``ConfigError`` was raised inside.
    """
    try:
        yield
    except ConfigError as error:
        raise click.UsageError(str(error)) from error


def _message(error: Exception) -> str | None:
    if isinstance(error, FeederError):
        return str(error)
    # Light commands do not import ML Metadata.
    metadata_errors = sys.modules.get("ml_metadata.errors")
    if metadata_errors is not None and isinstance(error, metadata_errors.StatusError):
        return f"The ML Metadata store returned an error: {error}. Try again."
    return None
