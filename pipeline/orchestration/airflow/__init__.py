"""Airflow DAGs of compiled pipelines; one source for Airflow 2.10, 2.11 and 3.

Airflow needs an environment of its own, with this package but without its dependencies
(``pip install --no-deps tfx-feeder``): no TFX is imported here. What runs a node, on a worker of
Airflow's or in a pod, is the command ``tfx-feeder`` of the pipeline's environment.

A run starts by compiling the pipeline with the run's parameters; each node is a task that reads
what was compiled. Exit handlers are teardown tasks, so they run last, whatever became of the
others, and do not hide a failure: the state of a run is that of its other tasks.
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
