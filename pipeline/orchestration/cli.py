"""The commands ``tfx-feeder compile`` and ``tfx-feeder run-node``."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import click
from pythonjsonlogger.json import JsonFormatter

from tfx_feeder.components.common.errors import ConfigError, FeederError
from tfx_feeder.pipeline.launch import Request, cause
from tfx_feeder.pipeline.orchestration import ir
from tfx_feeder.pipeline.quiet import quiet_imports
from tfx_feeder.pipeline.request_options import request_options

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("compile")
@click.option("--output", "-o", type=_FILE, default=Path("pipeline.json"), show_default=True)
@click.option(
    "--factory",
    metavar="MODULE:FUNCTION",
    help="Function without arguments that returns a TFX pipeline; the other options are about the "
    "reference pipeline.",
)
@request_options
def compile_command(request: Request, output: Path, factory: str | None) -> None:
    """Write a pipeline into a file that orchestrators read."""
    with _one_line():
        quiet_imports()
        compiling = import_module("tfx_feeder.pipeline.orchestration.compiling")
        if factory is None:
            config, _ = import_module("tfx_feeder.pipeline.configuring").configure(request)
            made = import_module("tfx_feeder.pipeline.pipeline").create_pipeline(config)
        else:
            made = _load(factory)()
        file = compiling.compile_pipeline(made)
        ir.write(file, output)
    click.echo(f"{file.name}: {len(file.upstream)} nodes in {output}")


@click.command("run-node")
@click.option("--ir", "path", type=_FILE, required=True, help="What `tfx-feeder compile` wrote.")
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
    with _one_line():
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


def _load(factory: str) -> Callable[[], Any]:
    module, _, function = factory.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        return getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            "factory",
            received=factory,
            expected="MODULE:FUNCTION that can be imported from here",
            fix=f"{error}.",
        ) from error


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


@contextmanager
def _one_line() -> Iterator[None]:
    """Turns what the suite raises on purpose into one line and exit status 2."""
    try:
        yield
    except FeederError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
