"""The command ``tfx-feeder worker``: one machine of a cluster that trains."""

import os
import signal
from pathlib import Path

import click

from tfx_feeder.common.durations import parse_duration
from tfx_feeder.common.errors import ConfigError, FeederError
from tfx_feeder.components.feeder_trainer.distribution.cluster import VARIABLE, ClusterTask
from tfx_feeder.components.feeder_trainer.distribution.launcher.rendezvous import (
    RENDEZVOUS_VARIABLE,
    RendezvousTimeoutError,
    rendezvous_path,
    run_worker,
)

_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.option(
    "--job",
    metavar="PATH",
    envvar=RENDEZVOUS_VARIABLE,
    show_envvar=True,
    help="File in which the chief leaves the work; the same one for all machines.",
)
@click.option(
    "--timeout",
    default="30m",
    show_default=True,
    metavar="DURATION",
    help="How long to wait for work, and to reach the chief.",
)
@click.option(
    "--no-work-ok",
    is_flag=True,
    help="Exit with 0 where no work came: the chief may find its training in the cache.",
)
@click.option("--log-dir", type=_FOLDER, help="Folder of the log.  [default: logs, beside the job]")
def worker(job: str | None, timeout: str, no_work_ok: bool, log_dir: Path | None) -> None:
    """Take part in a training as the task that TF_CONFIG describes, and end when it is done.

    The chief runs the pipeline, with a strategy that has cluster="env"; all other tasks of the
    cluster run this command.
    """
    # What stops a container, whose first process would not even end otherwise.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        timeout_s = parse_duration("--timeout", timeout)
        path = rendezvous_path(job)
        task = ClusterTask.from_env(os.environ)
        if task is None:
            raise ConfigError(
                VARIABLE,
                received=None,
                expected="a description of the cluster and of this task",
                fix="Let the orchestrator set it.",
            )
        log_dir = log_dir or path.parent / "logs"
        click.echo(f"{task.type} {task.index} waits for work in {path}; its log is in {log_dir}")
        run_worker(task, path, timeout_s=timeout_s, log_dir=log_dir)
    except RendezvousTimeoutError as error:
        if not no_work_ok:
            raise click.ClickException(str(error)) from error
        click.echo(str(error))
    except FeederError as error:
        raise click.ClickException(str(error)) from error
    else:
        click.echo("Done.")
