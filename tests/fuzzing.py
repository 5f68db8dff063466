"""What every fuzzed function must keep: its own errors only, short ones, in bounded time."""

import contextlib
import signal
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tfx_feeder.common.errors import FeederError

MOST_CHARACTERS = 2_000
MOST_SECONDS = 5
OUTCOMES: Counter[str] = Counter()
"""Number of inputs by outcome, for the summary of a run with ``-s``."""


@contextlib.contextmanager
def well_behaved() -> Iterator[None]:
    """Allows success or an error of the suite, shorter than a page, within seconds."""

    def stop(*_: Any) -> None:
        raise AssertionError(f"no end after {MOST_SECONDS} s")

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, MOST_SECONDS)
    try:
        yield
        OUTCOMES["accepted"] += 1
    except FeederError as error:
        OUTCOMES[type(error).__name__] += 1
        if len(str(error)) >= MOST_CHARACTERS:
            raise AssertionError(f"an error of {len(str(error))} characters") from error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
