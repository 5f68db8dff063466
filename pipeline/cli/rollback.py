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

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.pipeline.cli.console import print_json, show
from tfx_feeder.pipeline.cli.options import store_options
from tfx_feeder.pipeline.deployment.rollback import Rollback, plan
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.store import store_folder, writable_config
from tfx_feeder.pipeline.ownership import PipelineLock
from tfx_feeder.pipeline.runner import log_file
from tfx_feeder.pipeline.runner.launch import INTERRUPTED, interrupted_by_signals, root_cause


@click.command()
@click.argument("version")
@click.option("--reason", required=True, help="Reason, which is recorded.")
@click.option(
    "--yes",
    is_flag=True,
    help="Push even if the files lie outside of the folder of the store, as those of a copied "
    "store do.",
)
@store_options
@click.pass_context
def rollback(
    context: click.Context, lineage: Lineage, version: str, reason: str, yes: bool, as_json: bool
) -> None:
    """Push an earlier version again, as the new highest version.

    The version passes the same gate as before and gets a new model card. Models that were pushed
    after it are withdrawn: later runs neither start from them nor compare with them.
    """
    store = context.params["store"]
    folder = store_folder(store)
    # The lock of a pipeline is in its root; with a store on a server, the root may be anywhere.
    planned = plan(lineage, version, reason)
    if folder is not None and not yes:
        _check_beside(folder, planned)
    lock = PipelineLock(folder or Path.cwd(), planned.pusher.pipeline)
    try:
        with interrupted_by_signals(), lock.hold("tfx-feeder rollback"):
            # A run may have pushed another model in the meantime.
            planned = plan(lineage, version, reason)
            done = _run(planned, store, lock)
    except KeyboardInterrupt:
        click.echo("Interrupted. Run the same command again.", err=True)
        context.exit(INTERRUPTED)
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


def _check_beside(folder: Path, planned: Rollback) -> None:
    """Checks that a rollback changes nothing outside of the folder of the store.

    Raises:
        ConfigError: The serving folder is elsewhere.
    """
    serving = Path(planned.push.place)
    if not serving.resolve().is_relative_to(folder.resolve()):
        raise ConfigError(
            "store",
            received=str(folder),
            expected=f"the store beside the serving folder {serving}",
            fix="If this store is a copy, the original would change. Add --yes to push "
            "nevertheless.",
        )


def _run(planned: Rollback, store: str, lock: PipelineLock) -> Any:
    """Runs the pipeline with the output of the libraries in a log file."""
    log = lock.root / "logs" / f"{datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log_file.to_file(log) as screen:
        try:
            with Console(file=screen).status("Loading TensorFlow and TFX"):
                repush = importlib.import_module("tfx_feeder.pipeline.deployment.repush")
            return repush.repush(planned, writable_config(store), lock)
        except Exception as error:
            logging.exception("The rollback failed.")
            raise click.ClickException(f"{root_cause(error)}\nDetails: {log}") from error
