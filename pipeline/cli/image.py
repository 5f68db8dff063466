"""The command ``tfx-feeder image``."""

import shlex
import shutil
from pathlib import Path

import click

import tfx_feeder
from tfx_feeder.common.errors import ConfigError
from tfx_feeder.common.git import git_state
from tfx_feeder.pipeline.cli.errors import ErrorReporting

PIPELINE = "pipeline.json"
"""Name of the compiled pipeline in the build context, and in the image below /app."""

_ENGINES = ("docker", "podman", "buildah")


@click.command("image", cls=ErrorReporting)
@click.option("--tag", "-t", help="Name of the image.  [default: tfx-feeder:VERSION-COMMIT]")
@click.option(
    "--pipeline",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help=f"Compiled pipeline to copy into the image as /app/{PIPELINE}.",
)
@click.option("--base", help="Base image with Python and, for GPUs, CUDA.")
def image(tag: str | None, pipeline: Path | None, base: str | None) -> None:
    """Print the command that builds the container image for nodes and workers."""
    root = _checkout()
    tag = tag or default_tag(root)
    click.echo(shlex.join(build_command(root, tag, pipeline=pipeline, base=base)))


def build_command(
    root: Path, tag: str, *, pipeline: Path | None = None, base: str | None = None
) -> list[str]:
    """Returns the build command for the installed engine: Docker, Podman or Buildah.

    Args:
        root: Checkout with the Dockerfile, used as build context.
        tag: Name of the image.
        pipeline: Compiled pipeline to copy into the image; ``None`` for no pipeline.
        base: Base image; ``None`` for the default of the Dockerfile.

    Raises:
        ConfigError: The pipeline is outside the build context, or has another name.
    """
    arguments = {"BASE": base} if base else {}
    if pipeline is not None:
        path = pipeline.resolve()
        if not path.is_relative_to(root) or path.name != PIPELINE:
            raise ConfigError(
                "pipeline",
                received=str(pipeline),
                expected=f"a file {PIPELINE} below {root}, the build context",
                fix=f"Compile with -o {root / 'compiled' / PIPELINE}.",
            )
        arguments["PIPELINE"] = path.relative_to(root).as_posix()
    engine = next(filter(shutil.which, _ENGINES), _ENGINES[0])
    given = [part for key, value in arguments.items() for part in ("--build-arg", f"{key}={value}")]
    return [engine, "build", "--file", str(root / "Dockerfile"), "--tag", tag, *given, str(root)]


def default_tag(root: Path) -> str:
    """Returns the default image tag: name, version and, in a Git checkout, the commit."""
    state = git_state([root / "Dockerfile"])
    commit = "" if state is None else f"-{state.commit[:12]}{'-dirty' if state.dirty else ''}"
    return f"tfx-feeder:{tfx_feeder.__version__}{commit}"


def _checkout() -> Path:
    root = Path(tfx_feeder.__file__).resolve().parent.parent
    if not (root / "Dockerfile").exists():
        raise ConfigError(
            "Dockerfile",
            received=f"tfx-feeder in {root}",
            expected="a checkout with a Dockerfile",
            fix="Run tfx-feeder from a checkout of the sources.",
        )
    return root
