"""The commands ``tfx-feeder worker`` and ``tfx-feeder feed-worker``: processes of a cluster."""

import os
import threading
from pathlib import Path

import click

from tfx_feeder.common.durations import parse_duration
from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.cluster import ClusterTask
from tfx_feeder.components.feeder_trainer.distribution.launcher.rendezvous import (
    RENDEZVOUS_VARIABLE,
    RendezvousTimeoutError,
    rendezvous_path,
    run_worker,
)
from tfx_feeder.pipeline.cli.errors import ErrorReporting
from tfx_feeder.pipeline.runner.launch import interrupted_by_signals

_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command(cls=ErrorReporting)
@click.option(
    "--rendezvous",
    metavar="PATH",
    envvar=RENDEZVOUS_VARIABLE,
    show_envvar=True,
    help="Rendezvous file in which the chief publishes work; the same path on all machines.",
)
@click.option(
    "--timeout",
    default="30m",
    show_default=True,
    metavar="DURATION",
    help="Maximum wait for work, and for a connection to the chief.",
)
@click.option(
    "--no-work-ok",
    is_flag=True,
    help="Exit with status 0 if no work arrives, as when the chief's training is cached.",
)
@click.option(
    "--log-dir", type=_FOLDER, help="Log folder.  [default: logs, next to the rendezvous file]"
)
@interrupted_by_signals()  # Containers are stopped with SIGTERM.
def worker(rendezvous: str | None, timeout: str, no_work_ok: bool, log_dir: Path | None) -> None:
    """Join a training run as the task that TF_CONFIG describes, and exit when it is done.

    The chief runs the pipeline, with a strategy that has cluster="env"; all other tasks of the
    cluster run this command.
    """
    timeout_s = parse_duration("--timeout", timeout)
    path = rendezvous_path(rendezvous)
    task = ClusterTask.required_from_env(os.environ)
    log_dir = log_dir or path.parent / "logs"
    click.echo(f"{task.type} {task.index} waits for work in {path}; its log is in {log_dir}")
    try:
        run_worker(task, path, timeout_s=timeout_s, log_dir=log_dir)
    except RendezvousTimeoutError as error:
        if not no_work_ok:
            raise
        click.echo(str(error))
    else:
        click.echo("Done.")


@click.command()
@click.option("--service", metavar="grpc://HOST:PORT", help="Dispatcher of this worker.")
@click.option("--dispatcher", is_flag=True, help="Run the dispatcher (one per cluster).")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="Port to listen on; 0: any free port."
)
@click.option(
    "--address",
    metavar="HOST:PORT",
    help="Address at which trainers on other machines reach this worker.",
)
@interrupted_by_signals()
def feed_worker(service: str | None, dispatcher: bool, port: int, address: str | None) -> None:
    """Run one server of the tf.data service until interrupted.

    Start one dispatcher, then workers, each on a machine that sees the Examples under the same
    paths as the trainer, and set FeedOptions(service="grpc://HOST:PORT") in the pipeline.
    """
    if dispatcher == (service is not None):
        raise click.UsageError("Set either --service or --dispatcher.")
    if service is not None and not service.startswith("grpc://"):
        raise click.BadParameter(f"{service!r}: expected grpc://HOST:PORT", param_hint="--service")
    if dispatcher and address is not None:
        raise click.UsageError("--address is an option of workers; a dispatcher has --port only.")
    from tfx_feeder.components.feeder_trainer.feed.service_cluster import (
        start_dispatcher,
        start_worker,
    )

    try:
        if service is None:
            server = start_dispatcher(port)
            click.echo(f"Dispatcher ready at {server.target}")
        else:
            server = start_worker(service, port, address)
            click.echo(f"Worker ready for {service}")
    except OSError as error:
        raise ConfigError(
            "--port", received=port, expected="a port to listen on", fix=f"{error.strerror}."
        ) from error
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        click.echo("Stopped.")
