"""Writes executions to a store, as a quick run does, until standard input ends; says how many.

Called with the file of the store and the name of a run that is in it.
"""

import sys
import threading
from pathlib import Path

from ml_metadata.proto import metadata_store_pb2 as pb

from tfx_feeder.pipeline.metadata.store import create_store

PAUSE_S = 0.05


def main(path: Path, run_id: str) -> None:
    store = create_store(path)
    run = store.get_context_by_type_and_name("pipeline_run", run_id)
    execution_type = store.put_execution_type(pb.ExecutionType(name="Trainer"))
    artifact_type = store.put_artifact_type(pb.ArtifactType(name="Model"))
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    written = 0
    while not ended.wait(PAUSE_S):
        execution = pb.Execution(type_id=execution_type, last_known_state=pb.Execution.COMPLETE)
        event = pb.Event(type=pb.Event.OUTPUT)
        event.path.steps.add(key="model")
        artifact = pb.Artifact(type_id=artifact_type, uri=f"/somewhere/{written}")
        store.put_execution(execution, [(artifact, event)], [run])
        written += 1
        if written == 1:
            print("began", flush=True)
    print(written)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
