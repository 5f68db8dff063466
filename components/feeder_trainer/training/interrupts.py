"""Interrupts of a training: Ctrl-C, SIGTERM and SIGHUP take effect at the next checkpoint."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class DeferredInterrupt:
    """Context manager that records the first of them, for the training loop to act upon.

    A second signal takes effect immediately. Signals can be handled in the main thread only; in
    other threads, nothing changes.
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._previous: dict[int, Any] = {}

    @property
    def is_requested(self) -> bool:
        """True if a signal was received."""
        return self._received is not None

    def __enter__(self) -> "DeferredInterrupt":
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore_handlers()
        if kind is None and self.is_requested:
            self.interrupt()

    def interrupt(self) -> None:
        """Does what the received signal would have done, or SIGTERM if there was none.

        Raises:
            KeyboardInterrupt: The signal was SIGINT.
            SystemExit: The signal was another one, and the program does not handle it.
        """
        number = signal.SIGTERM if self._received is None else self._received
        previous = self._previous.get(number)
        self._received = None
        self._restore_handlers()
        if callable(previous):
            previous(number, None)
        raise SystemExit(128 + number)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.is_requested:
            self.interrupt()
        self._received = number

    def _restore_handlers(self) -> None:
        for number, previous in self._previous.items():
            # A handler that was not installed by Python cannot be restored.
            signal.signal(number, signal.SIG_DFL if previous is None else previous)
