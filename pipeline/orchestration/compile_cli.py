"""The command ``tfx-feeder compile``."""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from tfx_feeder.components.common.errors import ConfigError
from tfx_feeder.pipeline.launch import Request
from tfx_feeder.pipeline.orchestration import ir
from tfx_feeder.pipeline.orchestration.one_line import one_line
from tfx_feeder.pipeline.quiet import quiet_imports
from tfx_feeder.pipeline.request_options import request_options


@click.command("compile")
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("pipeline.json"),
    show_default=True,
)
@click.option(
    "--factory",
    metavar="MODULE:FUNCTION",
    help="Function without arguments that returns a TFX pipeline; the other options are about the "
    "reference pipeline.",
)
@request_options
def compile_command(request: Request, output: Path, factory: str | None) -> None:
    """Write a pipeline into a file that orchestrators read."""
    with one_line():
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
