"""What the suite raises on purpose, as one line on the screen."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from tfx_feeder.common.errors import FeederError


@contextmanager
def one_line() -> Iterator[None]:
    """Turns what the suite raises on purpose into one line and exit status 2."""
    try:
        yield
    except FeederError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
