"""What the commands that list things have in common: how many they show."""

from collections.abc import Callable, Iterator
from typing import Any

import click

newest_option: Callable[..., Any] = click.option(
    "-n",
    "--newest",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="How many to show.",
)
all_option: Callable[..., Any] = click.option(
    "--all", "everything", is_flag=True, help="Show all of them."
)


def truncation_note(shown: int, total: int, what: str) -> Iterator[str]:
    """Yields the line that says how many things are not shown, if there are any."""
    if shown < total:
        yield f"The newest {shown:,} of {total:,} {what}; --all shows all of them."
