"""Retraining daemon: decides at intervals, and retrains when there is a reason to."""

import logging
import signal
import threading
from collections.abc import Callable

from tfx_feeder.common.errors import FeederError
from tfx_feeder.pipeline.retraining.controller import RetrainingController
from tfx_feeder.pipeline.runner.launch import (
    BUSY,
    DONE,
    FAILED,
    INTERRUPTED,
    NOT_BLESSED,
    root_cause,
)

_LOG = logging.getLogger(__name__)

OUTCOMES = {
    DONE: "done",
    NOT_BLESSED: "done; the model was not blessed",
    FAILED: "failed",
    INTERRUPTED: "interrupted",
    BUSY: "left to another process",
}
"""Descriptions of the exit statuses of a run."""

_LIMIT = 10
"""Unexpected errors in a row after which the daemon ends, for its supervisor to start it anew."""


class RetrainingDaemon:
    """Decides at intervals until it is stopped, or cannot decide any more.

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
        self._errors = 0
        self._has_failed = True

    def run(self) -> int:
        """Runs until SIGINT, SIGTERM or SIGHUP; interrupts an active retraining, which can resume.

        Returns:
            Exit status: 0 if it was stopped; 1 after ten unexpected errors in a row, or if its
            output was closed.
        """
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda *_: self._stop.set())
        # Python runs signal handlers in the main thread, which therefore only waits.
        polling = threading.Thread(target=self._poll, name="retraining")
        polling.start()
        self._stop.wait()
        self._controller.stop()
        polling.join()
        if self._has_failed:
            self._echo(f"Stopped after {self._errors} errors in a row.")
            return FAILED
        self._echo("Stopped.")
        return DONE

    def _poll(self) -> None:
        try:
            self._check()
            while not self._stop.wait(self._poll_s):
                self._check()
            self._has_failed = self._errors >= _LIMIT
        finally:
            # Without this thread, which ends if nothing can be printed, nothing is left to do.
            self._stop.set()

    def _check(self) -> None:
        """Decides once, and retrains if there is a reason to; a single error is only reported."""
        try:
            self._retrain_if_due()
            self._errors = 0
        except FeederError as error:
            self._errors = 0
            self._echo_once(str(error), f"Cannot decide: {error}")
        except Exception as error:
            _LOG.debug("The check failed.", exc_info=True)
            line = root_cause(error)
            self._echo_once(line, f"Cannot decide: {line}")
            self._errors += 1
            if self._errors >= _LIMIT:
                self._stop.set()

    def _retrain_if_due(self) -> None:
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

    def _echo_once(self, key: str, line: str) -> None:
        """Prints a line unless the last key was the same."""
        if key != self._last:
            self._echo(line)
        self._last = key
