"""Compiles the reference pipeline for Kubeflow Pipelines."""

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click

from tfx_feeder.components.common.errors import FeederError
from tfx_feeder.pipeline.launch import Request
from tfx_feeder.pipeline.orchestration import ir
from tfx_feeder.pipeline.quiet import quiet_imports
from tfx_feeder.pipeline.request_options import request_options

ROOT = Path(__file__).parent
KFP = ("kfp==2.17.0", "kfp-kubernetes==2.17.0")
"""What compiles the specification: TFX needs other releases of what these need."""
_MODULE = "tfx_feeder.pipeline.orchestration.kubeflow"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@request_options
@click.option("--image", required=True, help="Container image with environment and code.")
@click.option("--claim", default="", help="PersistentVolumeClaim for the root.")
@click.option("--mount", default="/data", show_default=True, help="Where the claim is mounted.")
@click.option("--secret", default="", help="Secret with the keys store and password: ML Metadata.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("compiled"),
    show_default=True,
    help="Folder for pipeline.json, which goes into the image, and kubeflow.yaml.",
)
def main(request: Request, image: str, claim: str, mount: str, secret: str, output: Path) -> None:
    """Writes the pipeline for Kubeflow Pipelines: one container for each node."""
    quiet_imports()
    try:
        config, _ = import_module("tfx_feeder.pipeline.configuring").configure(request)
        pipeline = import_module("tfx_feeder.pipeline.pipeline").create_pipeline(config)
        compiling = import_module("tfx_feeder.pipeline.orchestration.compiling")
        ir.write(compiling.compile_pipeline(pipeline), output / "pipeline.json")
    except FeederError as error:
        raise click.ClickException(str(error)) from error
    options = {"image": image, "claim": claim, "mount": mount, "secret": secret}
    write_kubeflow(output / "pipeline.json", options, output / "kubeflow.yaml")
    click.echo(f"{output / 'pipeline.json'}: goes into {image} as /app/pipeline.json")
    click.echo(f"{output / 'kubeflow.yaml'}: upload it to Kubeflow Pipelines")


def write_kubeflow(file: Path, options: dict[str, str], path: Path) -> None:
    """Compiles a pipeline's file by kfp, in an environment that uv makes and keeps."""
    uv = Path(sys.executable).with_name("uv")
    packages = [argument for package in KFP for argument in ("--with", package)]
    command = [str(uv), "run", "--no-project", "--isolated", *packages, "python", "-m", _MODULE]
    arguments = {"file": str(file.absolute()), "options": options, "path": str(path.absolute())}
    compiled = subprocess.run(
        command,
        input=json.dumps(arguments),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    if compiled.returncode:
        reason = (compiled.stderr.strip().splitlines() or ["no message"])[-1]
        raise click.ClickException(reason.removeprefix("Error: "))


if __name__ == "__main__":
    main()
