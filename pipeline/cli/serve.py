"""The command ``tfx-feeder serve``: a model server for the Pusher's folder."""

import logging
import os
import resource
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tfx_feeder.common.durations import parse_duration
from tfx_feeder.common.errors import ConfigError
from tfx_feeder.pipeline.cli.errors import ErrorReporting
from tfx_feeder.pipeline.runner.quiet_imports import quiet_imports

if TYPE_CHECKING:
    from tfx_feeder.serving.server.options import ModelOptions
    from tfx_feeder.serving.server.server import ModelServer

_SERVER = "tfx_feeder.serving.server.server"
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_PORT = click.IntRange(0, 65_535)
_LOG = "%(asctime)s %(levelname)s %(message)s"


@click.command(cls=ErrorReporting)
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--name", help="Name of the model in requests.  [default: name of the folder]")
@click.option(
    "--model-config-file",
    type=_FILE,
    help="models.config of TensorFlow Serving with the models, instead of FOLDER.",
)
@click.option(
    "--versions",
    default="latest",
    show_default=True,
    metavar="POLICY",
    help="Versions to serve: latest, latest:N, all, or numbers such as 1,3.",
)
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="LABEL=VERSION",
    help="Label of a version, such as stable=3; may be repeated.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--grpc-port", type=_PORT, default=8500, show_default=True, help="0: any free port.")
@click.option("--rest-port", type=_PORT, default=8501, show_default=True, help="0: any free port.")
@click.option("--threads", type=int, help="Requests computed at once.  [default: number of cores]")
@click.option("--queue", default=100, show_default=True, help="Requests that may wait.")
@click.option("--timeout", default="30s", show_default=True, help="Limit of a request by REST.")
@click.option("--max-request-mb", default=64, show_default=True, help="Largest request, in MiB.")
@click.option("--grace", default="10s", show_default=True, help="Limit of the end, on SIGTERM.")
@click.option("--certificate", type=_FILE, help="Certificate of TLS.")
@click.option("--private-key", type=_FILE, help="Private key of the certificate.")
@click.option("--log", type=click.Path(path_type=Path), help="Folder of the prediction log.")
@click.option(
    "--log-sample", default=1.0, show_default=True, help="Fraction of the units that are logged."
)
@click.option("--token-file", type=_FILE, help="Token that requests must carry.")
def serve(
    folder: Path | None,
    name: str | None,
    model_config_file: Path | None,
    versions: str,
    labels: tuple[str, ...],
    timeout: str,
    grace: str,
    threads: int | None,
    log: Path | None,
    log_sample: float,
    **options: Any,
) -> None:
    """Serve the versions in FOLDER, and new ones as soon as they are pushed.

    Clients of TensorFlow Serving are answered by gRPC and REST, clients of the Open Inference
    Protocol (v2) by REST.
    """
    grace_s = parse_duration("--grace", grace)
    timeout_s = parse_duration("--timeout", timeout)
    if (folder is None) == (model_config_file is None):
        raise ConfigError(
            "FOLDER", received=folder, expected="a folder, or --model-config-file, but not both"
        )
    logging.basicConfig(format=_LOG, level=logging.INFO)
    started = time.monotonic()
    quiet_imports(_SERVER)
    for library in ("tensorflow", "uvicorn.error"):  # They announce each load and each start.
        logging.getLogger(library).setLevel(logging.ERROR)
    # Here, so that --help does not import TensorFlow.
    from tfx_feeder.serving.prediction_log import LogOptions
    from tfx_feeder.serving.server.options import ServerOptions, parse_model_config
    from tfx_feeder.serving.server.server import ModelServer

    if folder is None:
        assert model_config_file is not None
        models = parse_model_config(model_config_file.read_text("utf-8"))
    else:
        models = [_model(folder, name, versions, labels)]
    server = ModelServer(
        models,
        ServerOptions(threads=threads or os.cpu_count() or 1, timeout_s=timeout_s, **options),
        LogOptions(log.expanduser(), log_sample) if log else None,
    )
    _allow_connections()
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stopping.set())
    try:
        server.start()
        click.echo(_described(server, models, options["host"], time.monotonic() - started))
        stopping.wait()
        click.echo("Ending: requests in progress are answered.")
    finally:
        server.stop(grace_s)


def _allow_connections() -> None:
    """Raises the number of open files, one for each connection, as far as it is allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _model(
    folder: Path, name: str | None, versions: str, labels: tuple[str, ...]
) -> "ModelOptions":
    from tfx_feeder.serving.server.options import ModelOptions

    folder = folder.expanduser().absolute()
    if not folder.is_dir():
        raise ConfigError(
            "FOLDER",
            received=str(folder),
            expected="a folder of versions",
            fix="The Pusher writes one below runs/serving.",
        )
    numbers: dict[str, int] = {}
    for label in labels:
        key, _, number = label.partition("=")
        if not key or not number.isdecimal():
            raise ConfigError("--label", received=label, expected="LABEL=VERSION")
        numbers[key] = int(number)
    return ModelOptions(name or folder.name, folder, _policy(versions), numbers)


def _policy(text: str) -> Any:
    from tfx_feeder.serving.server.options import ALL, LATEST, SPECIFIC, VersionPolicy

    kind, _, number = text.partition(":")
    if kind == LATEST and (not number or number.isdecimal()):
        return VersionPolicy(LATEST, int(number or 1))
    if text == ALL:
        return VersionPolicy(ALL)
    numbers = text.split(",")
    if all(each.strip().isdecimal() for each in numbers):
        return VersionPolicy(SPECIFIC, versions=tuple(map(int, numbers)))
    raise ConfigError(
        "--versions", received=text, expected="latest, latest:N, all, or numbers such as 1,3"
    )


def _described(
    server: "ModelServer", models: "list[ModelOptions]", host: str, seconds: float
) -> str:
    shown = f"[{host}]" if ":" in host else host
    rest, grpc = f"http://{shown}:{server.rest_port}", f"{shown}:{server.grpc_port}"
    first = models[0].name
    lines = [f"Ready after {seconds:.1f} s; stop with Ctrl-C."]
    for model in models:
        available = [
            str(version.number)
            for version in server.models.get(model.name).statuses()
            if version.model is not None
        ]
        lines.append(f"  {model.name}: version {', '.join(available) or 'none yet'}")
    lines += [
        f"  gRPC {grpc}, REST {rest}",
        f"  curl -s {rest}/v1/models/{first}/metadata",
        f'  grpcurl -plaintext -d \'{{"model_spec": {{"name": "{first}"}}}}\' {grpc} '
        "tensorflow.serving.ModelService/GetModelStatus",
    ]
    return "\n".join(lines)
