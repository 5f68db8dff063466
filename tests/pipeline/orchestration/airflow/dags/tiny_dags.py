"""DAGs of the tiny pipeline, as a user of Airflow would write them."""

import os
from datetime import datetime, timezone
from pathlib import Path

from tfx_feeder.pipeline.orchestration.airflow import (
    DAY_OF_RUN,
    Bash,
    RunOption,
    Sensor,
    Timeouts,
    make_dag,
)

ROOT = Path(os.environ["TINY_ROOT"])
COMMON = {
    "compiled": ROOT / "tiny.json",
    "runs": ROOT / "runs",
    "runtime": Bash(
        Path(os.environ["TINY_BIN"]),
        env={"TINY_ROOT": str(ROOT), "PYTHONPATH": os.environ["TINY_CODE"]},
    ),
    "start_date": datetime(2026, 1, 1, tzinfo=timezone.utc),
    "timeouts": Timeouts(retries=0),
}

tiny = make_dag(
    "tiny",
    compile_options=["--factory", "tiny_pipeline:create_unblessed"],
    # Seldom enough for a busy scheduler: it takes a task for lost that is due again before it has
    # heard of the end of the last try.
    sensors=[Sensor("new_span", ["bash", "-c", f"[ -e {ROOT}/span ] || exit 99"], every_s=15)],
    **COMMON,
)

daily = make_dag(
    "daily",
    compile_options=["--factory", "tiny_pipeline:create"],
    run_options=[RunOption("span", "integer", default=DAY_OF_RUN)],
    schedule="@daily",
    # Past, so that the schedule itself starts no run beside the tests'.
    end_date=datetime(2026, 1, 9, tzinfo=timezone.utc),
    **COMMON,
)
