"""A node, run in a process that was forked from one whose environment may be another test's."""

import os


def run(environment, file, node, run_id, store):
    """Runs a node as a process started anew in `environment` would."""
    os.environ.clear()
    os.environ.update(environment)
    from tfx_feeder.pipeline.orchestration.node import run_node

    return run_node(file, node, run_id, store=store)
