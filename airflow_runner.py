"""The reference pipeline on Airflow 2 or 3: a DAG file, for Airflow's folder of DAGs.

Compile the pipeline once, so that Airflow knows its nodes; each run compiles it anew with its own
parameters (span, schedule, strategy):

    tfx-feeder compile --root /srv/feeder --data digits --output /srv/feeder/airflow/pipeline.json

Environment variables of Airflow's say the rest:

    TFX_FEEDER_ROOT     folder of everything that is written, as all workers see it (required)
    TFX_FEEDER_BIN      folder with the programs of the pipeline's environment (this or the image)
    TFX_FEEDER_IMAGE    image for one pod per node instead
    TFX_FEEDER_DATA     data set, as for `tfx-feeder compile`; digits by default
    TFX_FEEDER_CRON     schedule, such as "0 3 * * *"; none by default
    TFX_FEEDER_RETRAIN  when to retrain, as for `tfx-feeder retrain`, such as "--new-spans 1": a
                        run waits for a reason; by default it needs none
    TFX_FEEDER_POOL     pool of Airflow's with a slot per accelerator; none by default
"""

import os
import shlex
from datetime import datetime, timezone
from pathlib import Path

from tfx_feeder.pipeline.orchestration.airflow import REFERENCE_OPTIONS, Bash, Kubernetes, make_dag

ROOT = Path(os.environ["TFX_FEEDER_ROOT"])
IMAGE = os.environ.get("TFX_FEEDER_IMAGE")
RETRAIN = os.environ.get("TFX_FEEDER_RETRAIN")

dag = make_dag(
    "tfx_feeder",
    compiled=ROOT / "airflow" / "pipeline.json",
    runs=ROOT / "airflow" / "runs",
    runtime=Kubernetes(IMAGE) if IMAGE else Bash(Path(os.environ["TFX_FEEDER_BIN"])),
    compile_options=["--root", str(ROOT), "--data", os.environ.get("TFX_FEEDER_DATA", "digits")],
    run_options=REFERENCE_OPTIONS,
    retrain_options=None if RETRAIN is None else shlex.split(RETRAIN),
    schedule=os.environ.get("TFX_FEEDER_CRON"),
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    accelerator_pool=os.environ.get("TFX_FEEDER_POOL"),
)
