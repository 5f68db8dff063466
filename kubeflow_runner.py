"""Compiles a pipeline for Kubeflow Pipelines, and the reference pipeline for Vertex AI."""

import dataclasses
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Collection
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import yaml
from click.core import ParameterSource

from tfx_feeder.pipeline.cli.compile import compile_command
from tfx_feeder.pipeline.cli.errors import ErrorReporting
from tfx_feeder.pipeline.cli.options import request_options
from tfx_feeder.pipeline.cli.retrain import retrain as retrain_command
from tfx_feeder.pipeline.orchestration import compiled_pipeline
from tfx_feeder.pipeline.orchestration.kubeflow.options import Kubeflow
from tfx_feeder.pipeline.orchestration.kubernetes.cluster import Cluster

ROOT = Path(__file__).parent
KFP = ("kfp==2.17.0", "kfp-kubernetes==2.17.0")
"""Packages that compile the specification; their dependencies conflict with those of TFX."""
RUN_OPTIONS = ("span", "schedule", "strategy")
"""Parameters of a run of the reference pipeline."""
_MODULES = "tfx_feeder.pipeline.orchestration"


@click.command(
    cls=ErrorReporting, error_status=2, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.option("--image", required=True, help="Container image with environment and code.")
@click.option("--pvc", default="", help="PersistentVolumeClaim that holds the root.")
@click.option("--mount", default="/data", show_default=True, help="Mount path of the volume.")
@click.option(
    "--secret", default="", help="Secret with the keys store and password of ML Metadata."
)
@click.option(
    "--ir-in-image",
    metavar="PATH",
    help="Path of the compiled pipeline in the image, which all runs use.  [default: each run "
    "compiles the pipeline with its own parameters]",
)
@click.option(
    "--retrain",
    metavar="OPTIONS",
    help="Options of `tfx-feeder retrain`, as in '--new-spans 1 --drift 0.1'; a run ends at once "
    "if no trigger fires.",
)
@click.option(
    "--workers",
    type=int,
    default=2,
    show_default=True,
    help="Number of workers with --cluster env.",
)
@click.option(
    "--servers",
    type=int,
    help="Number of parameter servers with --cluster env.  [default: 1 for parameter_server]",
)
@click.option(
    "--cron", help="Schedule recurring runs: minute, hour, day of month, month, day of week."
)
@click.option(
    "--host",
    envvar="KF_PIPELINES_ENDPOINT",
    show_envvar=True,
    help="URL of Kubeflow Pipelines; with --cron.",
)
@click.option("--namespace", help="Namespace of the user in a multi-user Kubeflow; with --cron.")
@click.option(
    "--vertex-root",
    metavar="gs://BUCKET/FOLDER",
    help="Also compile for Vertex AI, with this root.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("compiled"),
    show_default=True,
    help="Folder for the output files.",
)
@click.pass_context
def main(
    context: click.Context,
    image: str,
    pvc: str,
    mount: str,
    secret: str,
    ir_in_image: str | None,
    retrain: str | None,
    workers: int,
    servers: int | None,
    cron: str | None,
    host: str | None,
    namespace: str | None,
    vertex_root: str | None,
    output: Path,
    **compiling: Any,
) -> None:
    """Compile a pipeline for Kubeflow Pipelines and Vertex AI, with one container per node."""
    _check(compiling, ir_in_image=ir_in_image, retrain=retrain, vertex_root=vertex_root)
    if cron and not host:
        raise click.UsageError("--cron requires --host.")
    context.invoke(compile_command, output=output / "pipeline.json", **compiling)
    file = compiled_pipeline.read(output / "pipeline.json")
    clusters = _clusters(file, mount, workers, servers)
    # With clusters, the machines are compiled in, so runs cannot choose their strategy.
    own = () if compiling["factory"] or ir_in_image else RUN_OPTIONS[: 2 if clusters else 3]
    own = tuple(name for name in own if retrain is None or name != "span")
    options = Kubeflow(
        image,
        claim=pvc,
        mount=mount,
        secret=secret,
        compile_options=None if ir_in_image else _given(context, exclude=own),
        run_options={name: str(compiling[name] or "") for name in own},
        retrain_options=None if retrain is None else _retrain_options(context, retrain),
        ir=ir_in_image or "",
        clusters=clusters,
    )
    write_kubeflow(output / "pipeline.json", options, output / "kubeflow.yaml")
    _print_file(output / "kubeflow.yaml", "upload it to Kubeflow Pipelines")
    if ir_in_image:
        _print_file(output / "pipeline.json", f"goes into {image} as {ir_in_image}")
    if clusters:
        services = [each for cluster in clusters.values() for each in cluster.services()]
        (output / "services.yaml").write_text(yaml.safe_dump_all(services))
        _print_file(output / "services.yaml", "apply it once, in the namespace of the runs")
    if vertex_root:
        _write_vertex(compiling, image, vertex_root, output / "vertex.json")
    if cron:
        spec = str((output / "kubeflow.yaml").absolute())
        when = {"cron": cron, "host": host, "namespace": namespace}
        arguments = {"spec": spec, "name": file.name, **when}
        in_kfp("-m", f"{_MODULES}.kubeflow.recurring", stdin=arguments)
        click.echo(f"{file.name}: runs at {cron} on {host}")


main.params += [option for option in compile_command.params if option.name != "output"]


def write_kubeflow(file: Path, options: Kubeflow, path: Path) -> None:
    """Compiles a pipeline file with kfp.

    Args:
        file: As ``tfx-feeder compile`` wrote it.
        options: Where and how its nodes run.
        path: Of the YAML that is written.

    Raises:
        ConfigError: The pipeline cannot run so.
    """
    options.check(compiled_pipeline.read(file))
    given = dataclasses.asdict(options)
    arguments = {"file": str(file.absolute()), "options": given, "path": str(path.absolute())}
    in_kfp("-m", f"{_MODULES}.kubeflow.spec", stdin=arguments)


def in_kfp(*arguments: str, stdin: Any = None) -> str:
    """Runs Python in an environment with kfp that uv creates and caches.

    Args:
        arguments: Arguments of the Python interpreter.
        stdin: Value that is written to the standard input as JSON.

    Returns:
        The standard output.

    Raises:
        ClickException: The process failed.
    """
    uv = Path(sys.executable).with_name("uv")
    packages = [argument for package in KFP for argument in ("--with", package)]
    called = subprocess.run(
        [str(uv), "run", "--no-project", "--isolated", *packages, "python", *arguments],
        input=json.dumps(stdin),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    if called.returncode:
        reason = (called.stderr.strip().splitlines() or ["no message"])[-1]
        raise click.ClickException(reason.removeprefix("Error: "))
    return called.stdout


def _check(
    compiling: dict[str, Any],
    *,
    ir_in_image: str | None,
    retrain: str | None,
    vertex_root: str | None,
) -> None:
    if vertex_root and compiling["factory"]:
        raise click.UsageError("--vertex-root applies to the reference pipeline; remove --factory.")
    if retrain is None:
        return
    if ir_in_image or compiling["factory"]:
        raise click.UsageError("--retrain requires runs that compile the reference pipeline.")
    if compiling["span"] is not None:
        raise click.UsageError("--span cannot be used with --retrain, which sets the span.")


def _clusters(
    file: compiled_pipeline.CompiledPipeline, mount: str, workers: int, servers: int | None
) -> dict[str, Cluster]:
    clusters = {}
    for node, strategy in file.strategies.items():
        if strategy.cluster == "env":
            name = re.sub("[^a-z0-9]+", "-", f"{file.name}-{node}".lower())
            clusters[node] = Cluster.for_strategy(
                strategy,
                name,
                job=f"{mount}/kubeflow/{name}.job",
                workers=workers,
                servers=servers,
            )
    return clusters


def _retrain_options(context: click.Context, text: str) -> tuple[str, ...]:
    known = {option.name for option in retrain_command.params}
    others = [option.name for option in compile_command.params if option.name not in known]
    words = (*shlex.split(text), *_given(context, exclude=others))
    # Parsed here so that an invalid option does not fail in the middle of a run.
    retrain_command.make_context("--retrain", ["--decide", "--json", *words])
    return words


def _given(context: click.Context, *, exclude: Collection[str | None]) -> tuple[str, ...]:
    """Returns the options of ``tfx-feeder compile`` on this command line, except some."""
    words: list[str] = []
    for option in compile_command.params:
        name = option.name or ""
        source = context.get_parameter_source(name)
        if name in exclude or source is not ParameterSource.COMMANDLINE:
            continue
        value, flag = context.params[name], max(option.opts, key=len)
        if value is True:
            words.append(flag)
        else:
            values = value if isinstance(value, tuple) else (value,)
            # Containers have another working directory, so paths must be absolute.
            words += [
                f"{flag}={each.absolute() if isinstance(each, Path) else each}" for each in values
            ]
    return tuple(words)


def _write_vertex(compiling: dict[str, Any], image: str, root: str, path: Path) -> None:
    request = request_options(lambda request, **others: request)(**compiling)
    config, _ = import_module("tfx_feeder.pipeline.runner.configure").configure(request)
    copied = import_module(f"{_MODULES}.vertex").write_spec(config, root, image, path)
    _print_file(path, "upload it to Vertex AI Pipelines")
    for folder in copied:
        target = f"{root.rstrip('/')}/{folder.relative_to(config.root)}"
        click.echo(f"before the first run: gcloud storage rsync -r {folder} {target}")


def _print_file(path: Path, what: str) -> None:
    click.echo(f"{path}: {what}")


if __name__ == "__main__":
    main()
