"""Retraining daemon: decides at intervals, and retrains when there is a reason to."""

import logging
import signal
import threading
from collections.abc import Callable

from tfx_feeder.common.errors import FeederError
from tfx_feeder.pipeline.retraining.controller import RetrainingController
from tfx_feeder.pipeline.retraining.run_process import BUSY
from tfx_feeder.pipeline.runner.launch import DONE, FAILED, INTERRUPTED, NOT_BLESSED

OUTCOMES = {
    DONE: "done",
    NOT_BLESSED: "done; the model was not blessed",
    FAILED: "failed",
    INTERRUPTED: "interrupted",
    BUSY: "left to another process",
}
"""Descriptions of the exit statuses of a run."""


class RetrainingDaemon:
    """Decides at intervals until it is stopped.

    Args:
        controller: Controller that decides and retrains.
        poll_s: Seconds from the end of one check to the start of the next.
        echo: Function that prints a line.
    """

    def __init__(
        self, controller: RetrainingController, poll_s: float, echo: Callable[[str], None]
    ) -> None:
        self._controller = controller
        self._poll_s = poll_s
        self._echo = echo
        self._stop = threading.Event()
        self._last = ""

    def run(self) -> None:
        """Runs until SIGINT or SIGTERM; interrupts an active retraining, which can resume."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self._stop.set())
        # Python runs signal handlers in the main thread, which therefore only waits.
        polling = threading.Thread(target=self._poll, name="retraining")
        polling.start()
        self._stop.wait()
        self._controller.stop()
        polling.join()
        self._echo("Stopped.")

    def _poll(self) -> None:
        self._check()
        while not self._stop.wait(self._poll_s):
            self._check()

    def _check(self) -> None:
        """Decides once, and retrains if there is a reason to; errors do not end the daemon."""
        try:
            self._controller.collect_statistics()
            decision = self._controller.decide()
            if self._controller.stopping:
                return
            reasons = "; ".join(decision.reasons)
            if decision.plan is None:
                # The ages in the reasons change with every check.
                self._echo_once("waiting", f"Waiting: {reasons}")
                return
            self._last = ""
            self._echo(f"Retraining: {reasons}")
            status = self._controller.retrain(decision.plan)
            self._echo(f"Retraining {OUTCOMES.get(status, f'ended with {status}')}.")
        except FeederError as error:
            self._echo_once(str(error), f"Cannot decide: {error}")
        except Exception as error:
            logging.exception("The check failed.")
            self._echo_once(repr(error), f"Cannot decide: {error!r}")

    def _echo_once(self, key: str, line: str) -> None:
        """Prints a line unless the last key was the same."""
        if key != self._last:
            self._echo(line)
        self._last = key
