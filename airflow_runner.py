"""DAG file of the reference pipeline for Airflow 2 and 3.

Put this file into the DAG folder, and compile the pipeline once to declare its nodes. Each run
compiles the pipeline again with its own parameters (span, schedule, strategy):

    tfx-feeder compile --root /srv/feeder --data digits --output /srv/feeder/airflow/pipeline.json

Environment variables of Airflow configure the DAG:

    TFX_FEEDER_ROOT     folder for all outputs, shared by all workers (required)
    TFX_FEEDER_BIN      bin folder of the pipeline's environment (or set TFX_FEEDER_IMAGE)
    TFX_FEEDER_IMAGE    container image; each node runs in a pod
    TFX_FEEDER_DATA     data set, as for `tfx-feeder compile`; digits by default
    TFX_FEEDER_CRON     schedule, such as "0 3 * * *"; none by default
    TFX_FEEDER_RETRAIN  options of `tfx-feeder retrain`, such as "--new-spans 1": a run waits for a
                        trigger; by default every run trains
    TFX_FEEDER_POOL     Airflow pool with one slot per accelerator; none by default
"""

import os
import shlex
from datetime import datetime, timezone
from pathlib import Path

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.pipeline.orchestration.airflow import REFERENCE_OPTIONS, Bash, Kubernetes, make_dag


def _required(variable: str, meaning: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        raise ConfigError(variable, received=value, expected=meaning)
    return Path(value)


ROOT = _required("TFX_FEEDER_ROOT", "the folder for all outputs, shared by all workers")
IMAGE = os.environ.get("TFX_FEEDER_IMAGE")
RETRAIN = os.environ.get("TFX_FEEDER_RETRAIN")

dag = make_dag(
    "tfx_feeder",
    compiled=ROOT / "airflow" / "pipeline.json",
    runs=ROOT / "airflow" / "runs",
    runtime=Kubernetes(IMAGE)
    if IMAGE
    else Bash(_required("TFX_FEEDER_BIN", "the bin folder of the pipeline's environment")),
    compile_options=["--root", str(ROOT), "--data", os.environ.get("TFX_FEEDER_DATA", "digits")],
    run_options=REFERENCE_OPTIONS,
    retrain_options=None if RETRAIN is None else shlex.split(RETRAIN),
    schedule=os.environ.get("TFX_FEEDER_CRON"),
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    accelerator_pool=os.environ.get("TFX_FEEDER_POOL"),
)
