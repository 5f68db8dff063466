"""The command ``tfx-feeder``.

Sub-commands are loaded when they are called, so that ``--help`` and light commands import
neither TensorFlow nor TFX.
"""

from collections.abc import Mapping
from importlib import import_module

import click

# Name of the command: where it lives, and its line in the help.
_COMMANDS: Mapping[str, tuple[str, str]] = {
    "artifacts": (
        "tfx_feeder.pipeline.cli.artifacts:artifacts",
        "List artifacts, or show one of them.",
    ),
    "cluster": (
        "tfx_feeder.pipeline.cli.cluster:cluster_command",
        "Write manifests for the machines of a training on Kubernetes.",
    ),
    "compare": (
        "tfx_feeder.pipeline.cli.report:compare",
        "Write one HTML file about several runs side by side.",
    ),
    "diff": (
        "tfx_feeder.pipeline.cli.diff:diff",
        "Show what differs between two runs or two models.",
    ),
    "compile": (
        "tfx_feeder.pipeline.cli.compile:compile_command",
        "Write a pipeline into a file that orchestrators read.",
    ),
    "doctor": ("tfx_feeder.pipeline.cli.doctor:doctor", "Check whether a pipeline can run here."),
    "feed-worker": (
        "tfx_feeder.pipeline.cli.feed_worker:feed_worker",
        "Make batches for trainers on other machines.",
    ),
    "gc": (
        "tfx_feeder.pipeline.cli.gc:gc",
        "Show, or delete, the files that no model needs.",
    ),
    "history": (
        "tfx_feeder.pipeline.cli.history:history",
        "Show how a model was trained, epoch by epoch, with curves.",
    ),
    "image": (
        "tfx_feeder.pipeline.cli.image:image",
        "Print the command that builds the image for nodes and workers.",
    ),
    "lineage": (
        "tfx_feeder.pipeline.cli.lineage:lineage",
        "Show out of what an artifact was made, or what was made of it.",
    ),
    "models": (
        "tfx_feeder.pipeline.cli.models:models",
        "List models: trained on what, blessed, pushed, live.",
    ),
    "report": (
        "tfx_feeder.pipeline.cli.report:report",
        "Write one HTML file about a run.",
    ),
    "retrain": (
        "tfx_feeder.pipeline.cli.retrain:retrain",
        "Retrain when there is a reason to: a schedule, new data, drift and so on.",
    ),
    "run": (
        "tfx_feeder.pipeline.cli.one_run:run",
        "Show one run: components, times, cache, errors.",
    ),
    "runs": (
        "tfx_feeder.pipeline.cli.runs:runs",
        "List runs: when, how long, and what came of each.",
    ),
    "run-node": (
        "tfx_feeder.pipeline.cli.node:run_node",
        "Run one node of a compiled pipeline.",
    ),
    "rollback": (
        "tfx_feeder.pipeline.cli.rollback:rollback",
        "Push an earlier version once more, and withdraw the later ones.",
    ),
    "schedule": (
        "tfx_feeder.pipeline.cli.schedule:schedule",
        "Look at schedules of learning rate and batch size.",
    ),
    "strategy": (
        "tfx_feeder.pipeline.cli.strategy:strategy",
        "Look at distribution strategies, and at what each would take.",
    ),
    "verify": (
        "tfx_feeder.pipeline.cli.verify:verify",
        "Check whether a model's files are those that were pushed.",
    ),
    "why": (
        "tfx_feeder.pipeline.cli.why:why",
        "Say why a model was trained, blessed and pushed, or was not.",
    ),
    "worker": ("tfx_feeder.pipeline.cli.worker:worker", "Take part in a training on a cluster."),
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
