"""The daemon: decides at intervals, and retrains where there is a reason."""

import logging
import signal
import threading
from collections.abc import Callable
from datetime import datetime, timezone

from apscheduler.schedulers.background import BackgroundScheduler

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
"""What an exit status means, in words."""


class Watch:
    """Looks again and again until it is stopped.

    Args:
        retrainer: What looks, decides and retrains.
        poll_s: Pause between two looks, in seconds.
        say: Is given one line at a time.
    """

    def __init__(
        self, retrainer: RetrainingController, poll_s: float, say: Callable[[str], None]
    ) -> None:
        self._retrainer = retrainer
        self._poll_s = poll_s
        self._say = say
        self._stop = threading.Event()
        self._last = ""

    def run(self) -> None:
        """Runs until SIGINT or SIGTERM; a retraining that runs is interrupted, and can go on."""
        # A look that finds a retraining running is left out, and that need not be told.
        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self._stop.set())
        scheduler = BackgroundScheduler(timezone=timezone.utc)
        scheduler.add_job(
            self._look,
            "interval",
            seconds=self._poll_s,
            next_run_time=datetime.now(timezone.utc),
            max_instances=1,
            coalesce=True,
            misfire_grace_time=None,
        )
        scheduler.start()
        self._stop.wait()
        self._retrainer.stop()
        scheduler.shutdown(wait=True)
        self._say("Stopped.")

    def _look(self) -> None:
        try:
            self._retrainer.measure()
            decision = self._retrainer.decide()
            if self._retrainer.stopping:
                return
            reasons = "; ".join(decision.reasons)
            if decision.plan is None:
                # The ages in the reasons change all the time.
                self._say_once("waiting", f"Waiting: {reasons}")
                return
            self._last = ""
            self._say(f"Retraining: {reasons}")
            status = self._retrainer.retrain(decision.plan)
            self._say(f"Retraining {OUTCOMES.get(status, f'ended with {status}')}.")
        except FeederError as error:
            self._say_once(str(error), f"Cannot decide: {error}")

    def _say_once(self, key: str, line: str) -> None:
        """Says something unless it is what was said last."""
        if key != self._last:
            self._say(line)
        self._last = key
