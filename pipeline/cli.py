"""The command ``tfx-feeder``.

Sub-commands are loaded when they are called, so that ``--help`` and light commands import
neither TensorFlow nor TFX.
"""

from collections.abc import Mapping
from importlib import import_module

import click

# Name of the command: where it lives, and its line in the help.
_COMMANDS: Mapping[str, tuple[str, str]] = {
    "doctor": ("tfx_feeder.pipeline.doctor:doctor", "Check whether a pipeline can run here."),
    "feed-worker": (
        "tfx_feeder.pipeline.feed_cli:feed_worker",
        "Make batches for trainers on other machines.",
    ),
    "schedule": (
        "tfx_feeder.pipeline.schedule_cli:schedule",
        "Look at schedules of learning rate and batch size.",
    ),
    "strategy": (
        "tfx_feeder.pipeline.strategy_cli:strategy",
        "Look at distribution strategies, and at what each would take.",
    ),
    "worker": ("tfx_feeder.pipeline.worker_cli:worker", "Take part in a training on a cluster."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported on use, from a table of ``module:attribute``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the names, in the order of the table."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports and returns a command, or returns None when there is no such."""
        if cmd_name not in _COMMANDS:
            return None
        module, attribute = _COMMANDS[cmd_name][0].split(":")
        return getattr(import_module(module), attribute)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in _COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tfx-feeder")
def main() -> None:
    """Train and deploy models with TFX pipelines."""
