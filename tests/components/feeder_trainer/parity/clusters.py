"""Trains some of the cases in clusters of real processes, one launch for each strategy.

``python -m tests.components.feeder_trainer.parity.clusters`` prints the table of case and strategy.
"""

import contextlib
import sys
import tempfile

from tests.components.feeder_trainer.parity import harness
from tests.components.feeder_trainer.parity.cases import CASES
from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.cluster import ClusterTask
from tfx_feeder.components.feeder_trainer.distribution.context import open_context
from tfx_feeder.components.feeder_trainer.distribution.launcher.launch import run_in_processes
from tfx_feeder.components.feeder_trainer.distribution.options import (
    MultiWorker,
    PeerAveraging,
    Strategy,
    SynchronousParameterServer,
)
from tfx_feeder.components.feeder_trainer.training.train_step import StepOptions

CLUSTERS: dict[str, Strategy] = {
    "multi_worker": MultiWorker("local:2", restarts=0),
    "parameter_server_sync": SynchronousParameterServer("local:2", restarts=0),
    "peer_averaging": PeerAveraging("local:2", restarts=0),
}
NAMES = (
    "sparse, ragged and string features",
    "several inputs and outputs",
    "autoencoder without labels",
    "GAN, two optimizers",
)
"""Cases that are trained in clusters."""


def run(mode: str, log_dir: str) -> dict[str, str]:
    """Trains the cases in a cluster and with ``fit()``; returns the outcomes by case.

    Args:
        mode: One of ``CLUSTERS``.
        log_dir: Folder for the logs of the processes.
    """
    # By its import path: the processes do not know this module as __main__.
    from tests.components.feeder_trainer.parity.clusters import train

    results = run_in_processes(train, mode, CLUSTERS[mode], log_dir).result
    outcomes = {}
    for name in NAMES:
        with tempfile.TemporaryDirectory() as folder:
            theirs = harness.fit(CASES[name], harness.write_examples(CASES[name], folder))
        outcomes[name] = harness.difference(results[name], theirs)
        print(f"{name} / {mode}: {outcomes[name]}", file=sys.stderr, flush=True)
    return outcomes


def train(mode: str, task: ClusterTask | None) -> dict[str, harness.Outcome | ConfigError]:
    """Trains the cases as one process of a cluster.

    Args:
        mode: One of ``CLUSTERS``.
        task: Task of this process.
    """
    results: dict[str, harness.Outcome | ConfigError] = {}
    with contextlib.closing(open_context(CLUSTERS[mode], task)) as placement:
        for name in NAMES:
            with tempfile.TemporaryDirectory() as folder:
                path = harness.write_examples(CASES[name], folder)
                try:
                    results[name] = harness.loop(CASES[name], path, placement, StepOptions())
                except ConfigError as error:
                    results[name] = error
    return results


def main() -> None:
    """Prints the table as Markdown, and each outcome in full to stderr."""
    with tempfile.TemporaryDirectory() as log_dir:
        columns = {mode: run(mode, log_dir) for mode in CLUSTERS}
    table = {name: {mode: columns[mode][name] for mode in CLUSTERS} for name in NAMES}
    harness.print_table(table, CLUSTERS)


if __name__ == "__main__":
    main()
