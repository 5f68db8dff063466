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
from tfx_feeder.pipeline.metadata.store import writable
from tfx_feeder.pipeline.runner import log_file
from tfx_feeder.pipeline.runner.launch import root_cause


@click.command()
@click.argument("version")
@click.option("--reason", required=True, help="Why; it is recorded.")
@store_options
@click.pass_context
def rollback(
    context: click.Context, lineage: Lineage, version: str, reason: str, as_json: bool
) -> None:
    """Push an earlier version once more, as a new and highest one.

    It passes the same gate as before, gets a model card of its own, and the models that were
    pushed after it are withdrawn: later runs neither start from them nor compare with them.
    """
    planned = plan(lineage, version, reason)
    done = _carry_out(planned, context.params["store"])
    if as_json:
        print_json(done)
        return
    show(
        f"Version {escape(done.earlier_version)} is served again, as {escape(done.version)} in "
        f"{escape(done.destination)}"
    )
    for model in planned.left_behind:
        versions = ", ".join(push.version for push in model.pushes)
        show(f"Withdrawn: model {model.model.id}, version {escape(versions)}")


def _carry_out(planned: Rollback, store: str) -> Any:
    """Runs the pipeline, with what the libraries say in a log."""
    log = _log_folder(store) / f"{datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log_file.to_file(log) as screen:
        try:
            with Console(file=screen).status("Loading TensorFlow and TFX"):
                repush = importlib.import_module("tfx_feeder.pipeline.deployment.repush")
            return repush.repush(planned, writable(store))
        except Exception as error:
            logging.exception("The rollback failed.")
            raise click.ClickException(f"{root_cause(error)}\nDetails: {log}") from error


def _log_folder(store: str) -> Path:
    """Returns where runs beside the store keep their logs; here for a database server's."""
    path = Path(store)
    beside = path if path.is_dir() else path.parent
    return (Path.cwd() if "://" in store else beside.absolute()) / "logs"
