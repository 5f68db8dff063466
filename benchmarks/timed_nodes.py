"""A pipeline run by TFX's LocalDagRunner, node by node under a stopwatch."""

from typing import Any

import harness
from tfx import v1 as tfx
from tfx.orchestration.portable import launcher


def run_timed(pipeline: tfx.dsl.Pipeline) -> dict[str, dict[str, float]]:
    """Runs a pipeline in this process.

    Returns:
        ``wall`` and ``cpu`` of each node, in seconds; those of the whole run as ``run()``.
    """
    measured: dict[str, dict[str, float]] = {}

    class TimedLauncher(launcher.Launcher):
        def __init__(self, pipeline_node: Any, *args: Any, **kwargs: Any) -> None:
            super().__init__(pipeline_node, *args, **kwargs)
            self._id = pipeline_node.node_info.id

        def launch(self) -> Any:
            with harness.stopwatch() as times:
                result = super().launch()
            measured[self._id] = _plain(times)
            return result

    stock, launcher.Launcher = launcher.Launcher, TimedLauncher
    try:
        with harness.stopwatch() as times:
            tfx.orchestration.LocalDagRunner().run(pipeline)
    finally:
        launcher.Launcher = stock
    return {**measured, "run()": _plain(times)}


def _plain(times: dict[str, float]) -> dict[str, float]:
    return {"wall": times["wall_s"], "cpu": times["cpu_s"]}
