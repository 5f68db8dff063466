"""A pipeline of two nodes, run by TFX itself until nothing has to run, collected, and run again.

Called with a folder, it prints the states of the nodes in each run as JSON.
"""

import json
import sys
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import ml_metadata as mlmd
from tfx import v1 as tfx
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact
from tfx.dsl.component.experimental.decorators import component
from tfx.types.standard_artifacts import Examples, Model

from tfx_feeder.pipeline.metadata.gc import classify_files, delete_files
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.store import writable_config


@component
def Generate(examples: OutputArtifact[Examples]):
    write(examples)


@component
def Train(examples: InputArtifact[Examples], model: OutputArtifact[Model]):
    read(examples)
    write(model)


def write(artifact):
    (Path(artifact.uri) / "content").write_text("something")


def read(artifact):
    (Path(artifact.uri) / "content").read_text()


def run(root: Path) -> None:
    generate = Generate()
    train = Train(examples=generate.outputs["examples"])
    pipeline = tfx.dsl.Pipeline(
        "p",
        str(root / "artifacts"),
        components=[generate, train],
        enable_cache=True,
        metadata_connection_config=writable_config(root / "metadata.sqlite"),
    )
    tfx.orchestration.LocalDagRunner().run(pipeline)


def collect(root: Path) -> list[str]:
    store = mlmd.MetadataStore(writable_config(root))
    now = datetime.now(timezone.utc)
    sort = partial(classify_files, store, untouched_since=now, keep_runs=0)
    deleted, failures = delete_files(store, sort(), sort)
    return [files.type_name for files in deleted] + failures


def main(root: Path) -> None:
    run(root)
    run(root)
    deleted = collect(root)
    run(root)
    run(root)
    runs = Lineage.open(root).runs()[::-1]
    states = [[execution.state for execution in run.executions] for run in runs]
    print(json.dumps({"deleted": deleted, "states": states}))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    # Under its own name: TFX imports executors by path.
    import two_nodes

    two_nodes.main(Path(sys.argv[1]))
