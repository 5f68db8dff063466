"""The command ``tfx-feeder run-node``."""

import gc
import logging
import sys
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import click
from pythonjsonlogger.json import JsonFormatter

from tfx_feeder.common.errors import FeederError
from tfx_feeder.pipeline.cli.options import ir_option
from tfx_feeder.pipeline.metadata.env import STORE_VARIABLE
from tfx_feeder.pipeline.orchestration import compiled_pipeline
from tfx_feeder.pipeline.runner.launch import interrupted_by_signals, root_cause
from tfx_feeder.pipeline.runner.quiet_imports import quiet_imports

_NODE = "tfx_feeder.pipeline.orchestration.node"


@click.command("run-node")
@ir_option
@click.option("--node", required=True, help="Id of the node.")
@click.option("--run-id", required=True, help="Id of the run, shared by all its nodes.")
@click.option(
    "--store",
    envvar=STORE_VARIABLE,
    show_envvar=True,
    help="ML Metadata store to use instead of the compiled one; see `tfx-feeder runs --help`.",
)
@click.option(
    "--connect-timeout",
    type=click.FloatRange(min=0),
    default=120,
    show_default=True,
    help="Seconds to wait for the ML Metadata store.",
)
@click.option("--unblessed-ok", is_flag=True, help="Exit with 0 if the model was not blessed.")
@click.option("--json-logs", is_flag=True, help="Write log lines as JSON.")
@interrupted_by_signals()  # Containers and tasks are stopped with SIGTERM.
def run_node(
    path: Path,
    node: str,
    run_id: str,
    store: str | None,
    connect_timeout: float,
    unblessed_ok: bool,
    json_logs: bool,
) -> None:
    """Run one node of a compiled pipeline, unless it has already succeeded in this run.

    Exit status: 0 done, 1 failed, 2 wrong usage or a node that cannot run yet, 3 the model was not
    blessed, so nothing was pushed, 4 ML Metadata cannot be reached.
    """
    _log_to_stderr(json_logs, node=node, run_id=run_id)
    # Must precede the import of ML Metadata's client, which otherwise logs every connection.
    quiet_imports(_NODE)
    nodes = import_module(_NODE)
    try:
        file = compiled_pipeline.read(path)
    except FeederError as error:
        _exit(nodes.Status.BAD_CONFIG, f"Error: {error}", as_json=json_logs)
    try:
        status = nodes.run_node(file, node, run_id, store=store, connect_timeout_s=connect_timeout)
    except Exception as error:
        status = nodes.status_of(error)
        if status == nodes.Status.FAILED:
            _exit(status, f"Failed in {node}: {root_cause(error)}", as_json=json_logs, error=error)
        _exit(status, f"Error: {error}", as_json=json_logs)
    # A final garbage collection over the executor's imports would take a second.
    gc.freeze()
    sys.exit(0 if unblessed_ok and status == nodes.Status.NOT_BLESSED else status)


def _exit(status: int, text: str, *, as_json: bool, error: Exception | None = None) -> NoReturn:
    """Exits with a status; the last line is the message, after the traceback of an error."""
    if as_json or error is not None:
        logging.error(text, exc_info=error)
    if not as_json:
        click.echo(text, err=True)
    sys.exit(status)


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
