"""The command ``tfx-feeder``.

Sub-commands are imported when they are called, so that ``--help`` and light commands import
neither TensorFlow nor TFX.
"""

from collections.abc import Mapping
from importlib import import_module

import click

from tfx_feeder.pipeline.cli.errors import ErrorReportingGroup

# Command name: module and attribute, and the line in the help text.
_COMMANDS: Mapping[str, tuple[str, str]] = {
    "artifacts": ("artifacts:artifacts", "List artifacts, or show one of them."),
    "cluster": (
        "cluster:cluster_command",
        "Write Kubernetes manifests for the machines of a distributed training.",
    ),
    "compare": ("report:compare", "Write an HTML report that compares several runs."),
    "diff": ("diff:diff", "Show the differences between two runs or two models."),
    "compile": ("compile:compile_command", "Compile a pipeline for an orchestrator."),
    "doctor": ("doctor:doctor", "Check that a pipeline can run on this machine."),
    "feed-worker": ("worker:feed_worker", "Run a tf.data service server for trainers."),
    "gc": ("gc:gc", "List, or delete, files that no model needs."),
    "history": ("models:history", "Show the training history of a model."),
    "image": ("image:image", "Print the command that builds the container image."),
    "lineage": (
        "lineage:lineage",
        "Show the inputs or the descendants of an artifact.",
    ),
    "models": ("models:models", "List models with span, metric, blessing and pushes."),
    "repair": ("repair:repair", "Find damaged files, and repair a root."),
    "report": ("report:report", "Write an HTML report about a run."),
    "retrain": (
        "retrain:retrain",
        "Retrain when a trigger fires: a schedule, new data, drift and others.",
    ),
    "run": ("runs:run", "Show one run: components, durations, cached results, errors."),
    "runs": ("runs:runs", "List runs with start, duration, state and models."),
    "run-node": ("node:run_node", "Run one node of a compiled pipeline."),
    "rollback": ("rollback:rollback", "Push an earlier version again and withdraw later models."),
    "schedule": ("schedule:schedule", "Preview schedules of learning rate and batch size."),
    "serve": ("serve:serve", "Serve pushed models by gRPC and REST."),
    "slices": ("slices:slices", "List the evaluation slices of a model, those that decided first."),
    "strategy": ("strategy:strategy", "List distribution strategies and predict training times."),
    "verify": (
        "verify:verify",
        "Compare the files of a model, or of all runs, with records.",
    ),
    "why": ("why:why", "Explain why a model was or was not trained, blessed and pushed."),
    "worker": ("worker:worker", "Join a distributed training as a worker or parameter server."),
}


class LazyGroup(ErrorReportingGroup):
    """Group that imports its commands on use and reports their errors in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the names of the commands."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports a command.

        Args:
            ctx: Context of the group.
            cmd_name: Name of the command.

        Returns:
            The command; ``None`` if there is no command of this name.
        """
        if cmd_name not in _COMMANDS:
            return None
        module, attribute = _COMMANDS[cmd_name][0].split(":")
        return getattr(import_module(f"tfx_feeder.pipeline.cli.{module}"), attribute)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in _COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tfx-feeder")
def main() -> None:
    """Train and deploy models with TFX pipelines."""
