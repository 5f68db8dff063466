"""Runs a small pipeline, with the components of a stock pipeline, once or until it is killed.

Called with a root and the number of runs; it prints a line before the first.
"""

import itertools
import sys
from pathlib import Path


def main(root: Path, number: int) -> None:
    import small_pipeline

    from tfx_feeder.pipeline.metadata.store import create_store
    from tfx_feeder.pipeline.ownership import PipelineLock
    from tfx_feeder.pipeline.runner.local import run_locally

    print("ready", flush=True)
    for count in itertools.count() if number == 0 else range(number):
        pipeline = small_pipeline.create(root, 1 + count % 3)
        pipeline.enable_cache = count % 2 == 0
        lock = PipelineLock(root, pipeline.pipeline_info.pipeline_name)
        with lock.hold("test"):
            run_locally(pipeline, create_store(root / "metadata.sqlite"), lock)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2] / "pipeline" / "deployment" / "small"))
    folder, runs = Path(sys.argv[1]), int(sys.argv[2])
    del sys.argv[1:]  # TFX parses the options of the process as its own.
    main(folder, runs)
