"""The command ``tfx-feeder compile``."""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.pipeline.cli.errors import ErrorReporting
from tfx_feeder.pipeline.cli.options import request_options
from tfx_feeder.pipeline.metadata.env import STORE_VARIABLE
from tfx_feeder.pipeline.orchestration import compiled_pipeline
from tfx_feeder.pipeline.orchestration.resources import Resources
from tfx_feeder.pipeline.runner.launch import RunRequest
from tfx_feeder.pipeline.runner.quiet_imports import quiet_imports


@click.command("compile", cls=ErrorReporting)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("pipeline.json"),
    show_default=True,
    help="File to write.",
)
@click.option(
    "--factory",
    metavar="MODULE:FUNCTION",
    help="Function without arguments that returns a TFX pipeline or a CompiledPipeline. The "
    "options for training and data apply to the reference pipeline only.",
)
@click.option(
    "--resources",
    metavar="NODE=REQUEST",
    multiple=True,
    help="Resource request of a node, as in FeederTrainer=cpu:4,memory:8Gi,nvidia.com/gpu:1; "
    "repeatable.  [default for a FeederTrainer: the devices of its strategy]",
)
@click.option(
    "--exit-handler",
    "exit_handlers",
    metavar="NODE",
    multiple=True,
    help="Node that runs last, even if other nodes fail; repeatable.",
)
@click.option(
    "--store",
    envvar=STORE_VARIABLE,
    show_envvar=True,
    help="ML Metadata store of the runs, which determines the next span.  [default: the one in "
    "--root]",
)
@request_options
def compile_command(
    request: RunRequest,
    output: Path,
    factory: str | None,
    resources: tuple[str, ...],
    exit_handlers: tuple[str, ...],
    store: str | None,
) -> None:
    """Compile a pipeline into a file that orchestrators read."""
    requests = _parse_requests(resources)
    if factory is None:
        quiet_imports()
        config, _ = import_module("tfx_feeder.pipeline.runner.configure").configure(request, store)
        made = import_module("tfx_feeder.pipeline.pipeline").create_pipeline(config)
    else:
        made = _make(factory)
    if isinstance(made, compiled_pipeline.CompiledPipeline):
        file = made.with_resources(requests, exit_handlers)
    else:
        compiling = import_module("tfx_feeder.pipeline.orchestration.compiler")
        file = compiling.compile_pipeline(made, requests, exit_handlers)
    compiled_pipeline.write(file, output)
    click.echo(f"{file.name}: {len(file.upstream)} nodes in {output}")


def _parse_requests(texts: tuple[str, ...]) -> dict[str, Resources]:
    requests = {}
    for text in texts:
        node, equals, request = text.partition("=")
        if not equals:
            raise ConfigError("resources", received=text, expected="NODE=cpu:4,memory:8Gi")
        requests[node] = Resources.parse(request)
    return requests


def _make(factory: str) -> Any:
    """Calls a factory.

    Raises:
        ConfigError: There is no such function, or it returns something else than a pipeline.
    """
    made = _load(factory)()
    # Any TFX pipeline has this attribute; importing TFX takes seconds.
    if isinstance(made, compiled_pipeline.CompiledPipeline) or hasattr(made, "pipeline_info"):
        return made
    raise ConfigError(
        "factory",
        received=factory,
        expected="a function that returns a TFX pipeline or a CompiledPipeline",
        fix=f"It returned {type(made).__name__}.",
    )


def _load(factory: str) -> Callable[[], Any]:
    module, _, function = factory.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        if not module or module.startswith("."):
            raise ImportError("The module has no absolute name")
        quiet_imports(module)
        found = getattr(sys.modules[module], function)
    except (ImportError, AttributeError, ValueError) as error:
        raise _not_importable(factory, f"{error}.") from error
    if not callable(found):
        raise _not_importable(factory, f"{function} is not a function.")
    return found


def _not_importable(factory: str, fix: str) -> ConfigError:
    return ConfigError(
        "factory",
        received=factory,
        expected="MODULE:FUNCTION that can be imported from the working directory",
        fix=fix,
    )
