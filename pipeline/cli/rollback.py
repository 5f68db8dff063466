"""The command ``tfx-feeder rollback``."""

import importlib
import logging
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape

from tfx_feeder.pipeline.cli.console import print_json, show
from tfx_feeder.pipeline.cli.options import store_options
from tfx_feeder.pipeline.deployment.rollback import Rollback, plan
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.store import writable_config
from tfx_feeder.pipeline.runner import log_file
from tfx_feeder.pipeline.runner.launch import root_cause


@click.command()
@click.argument("version")
@click.option("--reason", required=True, help="Reason, which is recorded.")
@store_options
@click.pass_context
def rollback(
    context: click.Context, lineage: Lineage, version: str, reason: str, as_json: bool
) -> None:
    """Push an earlier version again, as the new highest version.

    The version passes the same gate as before and gets a new model card. Models that were pushed
    after it are withdrawn: later runs neither start from them nor compare with them.
    """
    planned = plan(lineage, version, reason)
    done = _run(planned, context.params["store"])
    if as_json:
        print_json(done)
        return
    show(
        f"Version {escape(done.earlier_version)} is served again, as {escape(done.version)} in "
        f"{escape(done.destination)}"
    )
    for model in planned.superseded:
        versions = ", ".join(push.version for push in model.pushes)
        show(f"Withdrawn: model {model.model.id}, version {escape(versions)}")


def _run(planned: Rollback, store: str) -> Any:
    """Runs the pipeline with the output of the libraries in a log file."""
    log = _log_folder(store) / f"{datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log_file.to_file(log) as screen:
        try:
            with Console(file=screen).status("Loading TensorFlow and TFX"):
                repush = importlib.import_module("tfx_feeder.pipeline.deployment.repush")
            return repush.repush(planned, writable_config(store))
        except Exception as error:
            logging.exception("The rollback failed.")
            raise click.ClickException(f"{root_cause(error)}\nDetails: {log}") from error


def _log_folder(store: str) -> Path:
    """Returns the log folder beside the store, or in the working directory for a server."""
    path = Path(store)
    beside = path if path.is_dir() else path.parent
    return (Path.cwd() if "://" in store else beside.absolute()) / "logs"
