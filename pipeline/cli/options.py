"""What the commands that read a store have in common."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
from ml_metadata import errors

from tfx_feeder.common.errors import ConfigError, FeederError
from tfx_feeder.pipeline.metadata.env import STORE_VARIABLE
from tfx_feeder.pipeline.metadata.lineage import Lineage

_OPTIONS = (
    click.option(
        "--store",
        envvar=STORE_VARIABLE,
        default="runs",
        show_default=True,
        show_envvar=True,
        help="SQLite file of ML Metadata, a folder with metadata.sqlite in it, "
        "mysql://USER@HOST/DATABASE or postgresql://USER@HOST/DATABASE.",
    ),
    click.option("--pipeline", help="Name of a pipeline.  [default: all of the store]"),
    click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts."),
)


def store_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds ``--store``, ``--pipeline`` and ``--json`` to a command.

    The command is called with ``lineage`` and ``as_json``. What the suite refuses becomes one line
    on standard error, and exit status 1.
    """

    @functools.wraps(command)
    def wrapped(store: str, pipeline: str | None, **arguments: Any) -> Any:
        with said_plainly():
            return command(lineage=open_lineage(store, pipeline), **arguments)

    return functools.reduce(lambda decorated, option: option(decorated), _OPTIONS[::-1], wrapped)


def open_lineage(store: str, pipeline: str | None = None) -> Lineage:
    """Opens a store for reading.

    Raises:
        ConfigError: There is no store, it cannot be read, or it does not know the pipeline.
    """
    lineage = Lineage.open(store, pipeline)
    known = lineage.pipelines()
    if pipeline is not None and pipeline not in known:
        raise ConfigError(
            "pipeline",
            received=pipeline,
            expected=f"one of {', '.join(known)}" if known else "none: the store has no pipeline",
        )
    return lineage


@contextmanager
def said_plainly() -> Iterator[None]:
    """Turns what the suite raises on purpose, and a store's refusal, into one line and status 1."""
    try:
        yield
    except FeederError as error:
        raise click.ClickException(str(error)) from error
    except errors.StatusError as error:
        raise click.ClickException(f"The store does not answer: {error}. Try again.") from error
