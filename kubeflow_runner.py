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

from tfx_feeder.common.files import atomic_write
from tfx_feeder.components.feeder_trainer.distribution.options import cluster_of
from tfx_feeder.pipeline.cli.compile import compile_command
from tfx_feeder.pipeline.cli.errors import ErrorReporting
from tfx_feeder.pipeline.cli.options import request_options
from tfx_feeder.pipeline.cli.retrain import retrain as retrain_command
from tfx_feeder.pipeline.orchestration import compiled_pipeline
from tfx_feeder.pipeline.orchestration.kubeflow.options import Kubeflow
from tfx_feeder.pipeline.orchestration.kubernetes.cluster import Cluster
from tfx_feeder.pipeline.orchestration.run_options import REFERENCE_RUN_OPTIONS

ROOT = Path(__file__).parent
KFP = ("kfp==2.17.0", "kfp-kubernetes==2.17.0")
"""Compilers of the specification, whose dependencies conflict with those of TFX."""
_MODULES = "tfx_feeder.pipeline.orchestration"


@click.command(cls=ErrorReporting, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--image", required=True, help="Container image with environment and code.")
@click.option("--pvc", default="", help="PersistentVolumeClaim for the root.")
@click.option("--mount", default="/data", show_default=True, help="Mount path of the PVC.")
@click.option(
    "--secret", default="", help="Secret with the keys store and password for ML Metadata."
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
    help="Options of `tfx-feeder retrain`, as in '--new-spans 1 --drift 0.1'. Without a reason to "
    "retrain, a run ends at once.",
)
@click.option(
    "--workers", type=int, default=2, show_default=True, help="Workers, for --cluster env."
)
@click.option(
    "--servers",
    type=int,
    help="Parameter servers, for --cluster env.  [default: 1 for parameter_server]",
)
@click.option("--cron", help="Create a recurring run: minute, hour, day, month, day of the week.")
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
    help="Output folder.",
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
    compiled = compiled_pipeline.read(output / "pipeline.json")
    clusters = _clusters(compiled, mount, workers, servers)
    # The clusters are compiled in, so that a run cannot change the strategy.
    names = REFERENCE_RUN_OPTIONS[: 2 if clusters else 3]
    if compiling["factory"] or ir_in_image:
        names = ()
    names = tuple(name for name in names if retrain is None or name != "span")
    options = Kubeflow(
        image,
        pvc=pvc,
        mount=mount,
        secret=secret,
        compile_options=None if ir_in_image else _command_line(context, exclude=names),
        run_options={name: str(compiling[name] or "") for name in names},
        retrain_options=None if retrain is None else _retrain_options(context, retrain),
        ir=ir_in_image or "",
        clusters=clusters,
    )
    write_kubeflow(output / "pipeline.json", options, output / "kubeflow.yaml")
    _report(output / "kubeflow.yaml", "upload it to Kubeflow Pipelines")
    if ir_in_image:
        _report(output / "pipeline.json", f"copy it into {image} as {ir_in_image}")
    if clusters:
        services = [
            manifest
            for cluster in clusters.values()
            for manifest in (*cluster.services(), cluster.network_policy())
        ]
        atomic_write(output / "services.yaml", yaml.safe_dump_all(services))
        _report(output / "services.yaml", "apply it once, in the namespace of the runs")
    if vertex_root:
        _write_vertex(compiling, image, vertex_root, output / "vertex.json")
    if cron:
        spec = str((output / "kubeflow.yaml").absolute())
        when = {"cron": cron, "host": host, "namespace": namespace}
        arguments = {"spec": spec, "name": compiled.name, **when}
        in_kfp("-m", f"{_MODULES}.kubeflow.recurring", stdin=arguments)
        click.echo(f"{compiled.name}: recurring run at {cron} on {host}")


main.params += [option for option in compile_command.params if option.name != "output"]


def write_kubeflow(file: Path, options: Kubeflow, path: Path) -> None:
    """Writes the Kubeflow specification of a compiled pipeline.

    Args:
        file: File written by ``tfx-feeder compile``.
        options: Options of the pipeline on Kubeflow.
        path: YAML file to write.

    Raises:
        ConfigError: The pipeline cannot run with these options.
    """
    options.check(compiled_pipeline.read(file))
    fields = dataclasses.asdict(options)
    arguments = {"file": str(file.absolute()), "options": fields, "path": str(path.absolute())}
    in_kfp("-m", f"{_MODULES}.kubeflow.spec", stdin=arguments)


def in_kfp(*arguments: str, stdin: Any = None) -> str:
    """Runs Python in an environment with kfp, which uv creates and caches; returns its output.

    Args:
        *arguments: Arguments of the Python interpreter.
        stdin: Value to pass as JSON on standard input.

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
        raise click.UsageError("--vertex-root applies to the reference pipeline, not to --factory.")
    if retrain is None:
        return
    if ir_in_image or compiling["factory"]:
        raise click.UsageError("--retrain requires runs that compile the reference pipeline.")
    if compiling["span"] is not None:
        raise click.UsageError("--span cannot be used with --retrain, which selects the span.")


def _clusters(
    compiled: compiled_pipeline.CompiledPipeline, mount: str, workers: int, servers: int | None
) -> dict[str, Cluster]:
    clusters = {}
    for node, strategy in compiled.strategies.items():
        if cluster_of(strategy) == "env":
            name = re.sub("[^a-z0-9]+", "-", f"{compiled.name}-{node}".lower())
            clusters[node] = Cluster.for_strategy(
                strategy,
                name,
                rendezvous_path=f"{mount}/kubeflow/{name}.job",
                workers=workers,
                servers=servers,
            )
    return clusters


def _retrain_options(context: click.Context, text: str) -> tuple[str, ...]:
    known = {option.name for option in retrain_command.params}
    others = [option.name for option in compile_command.params if option.name not in known]
    words = (*shlex.split(text), *_command_line(context, exclude=others))
    # Parse the options here, because a run would report mistakes only later.
    retrain_command.make_context("--retrain", ["--decide", "--json", *words])
    return words


def _command_line(context: click.Context, *, exclude: Collection[str | None]) -> tuple[str, ...]:
    """Returns the options of ``tfx-feeder compile`` on this command line, without some."""
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
            # Containers have another working folder.
            words += [
                f"{flag}={each.absolute() if isinstance(each, Path) else each}" for each in values
            ]
    return tuple(words)


def _write_vertex(compiling: dict[str, Any], image: str, root: str, path: Path) -> None:
    request = request_options(lambda request, **others: request)(**compiling)
    config, _ = import_module("tfx_feeder.pipeline.runner.configure").configure(request)
    folders = import_module(f"{_MODULES}.vertex").write_spec(config, root, image, path)
    _report(path, "upload it to Vertex AI Pipelines")
    for folder in folders:
        target = f"{root.rstrip('/')}/{folder.relative_to(config.root)}"
        click.echo(f"before the first run: gcloud storage rsync -r {folder} {target}")


def _report(path: Path, text: str) -> None:
    click.echo(f"{path}: {text}")


if __name__ == "__main__":
    main()
