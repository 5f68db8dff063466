"""The command ``tfx-feeder run-node``."""

import logging
import sys
from importlib import import_module
from pathlib import Path

import click
from pythonjsonlogger.json import JsonFormatter

from tfx_feeder.pipeline.launch import cause
from tfx_feeder.pipeline.orchestration import ir
from tfx_feeder.pipeline.orchestration.one_line import one_line
from tfx_feeder.pipeline.quiet import quiet_imports


@click.command("run-node")
@click.option(
    "--ir",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="What `tfx-feeder compile` wrote.",
)
@click.option("--node", required=True, help="Id of the node.")
@click.option("--run-id", required=True, help="Id of the run; the same for all its nodes.")
@click.option(
    "--store",
    envvar="TFX_FEEDER_STORE",
    show_envvar=True,
    help="ML Metadata store to use instead of the compiled one; see `tfx-feeder runs --help`.",
)
@click.option("--unblessed-ok", is_flag=True, help="Exit with 0 where the model was not blessed.")
@click.option("--json-logs", is_flag=True, help="Log lines of JSON.")
def run_node(
    path: Path, node: str, run_id: str, store: str | None, unblessed_ok: bool, json_logs: bool
) -> None:
    """Run one node of a compiled pipeline, unless it has succeeded in this run before.

    Exit status: 0 done, 1 failed, 2 wrong usage or nothing that can be run as it is, 3 the model
    was not blessed, so nothing was pushed, 4 ML Metadata cannot be reached.
    """
    _log_to_stderr(json_logs, node=node, run_id=run_id)
    with one_line():
        file = ir.read(path)
        file.require(node)
        quiet_imports("tfx.orchestration.portable.launcher")
        nodes = import_module("tfx_feeder.pipeline.orchestration.node")
    try:
        status = nodes.run_node(file, node, run_id, store=store)
    except Exception as error:
        logging.exception("%s failed.", node)
        click.echo(f"Failed in {node}: {cause(error)}", err=True)
        sys.exit(nodes.status_of(error))
    sys.exit(0 if unblessed_ok and status == nodes.Status.NOT_BLESSED else status)


def _log_to_stderr(as_json: bool, **fields: str) -> None:
    handler = logging.StreamHandler()
    if as_json:
        names = "%(asctime)s %(levelname)s %(name)s %(message)s"
        handler.setFormatter(JsonFormatter(names, static_fields=fields))
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
