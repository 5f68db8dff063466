"""Airflow DAGs of compiled pipelines; one code base for Airflow 2.10, 2.11 and 3.

Airflow needs its own environment, with this package but without its dependencies
(``pip install --no-deps tfx-feeder``); this package imports no TFX. A node is run by the command
``tfx-feeder`` of the pipeline's environment, on an Airflow worker or in a pod.

A run first compiles the pipeline with the parameters of the run; each node is a task that reads
the compiled pipeline. Exit handlers are teardown tasks: they run last, even after failures, and do
not hide a failure, because the other tasks determine the state of the run.
"""

from tfx_feeder.pipeline.orchestration.airflow.dag import make_dag
from tfx_feeder.pipeline.orchestration.airflow.options import (
    DAY_OF_RUN,
    REFERENCE_OPTIONS,
    RunOption,
    Sensor,
    Timeouts,
)
from tfx_feeder.pipeline.orchestration.airflow.runtimes import Bash, Kubernetes, Runtime

__all__ = [
    "DAY_OF_RUN",
    "REFERENCE_OPTIONS",
    "Bash",
    "Kubernetes",
    "RunOption",
    "Runtime",
    "Sensor",
    "Timeouts",
    "make_dag",
]
