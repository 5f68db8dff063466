"""Reading a dataset that may fall silent for ever, as tf.data service does."""

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

_WAIT_S = 0.5
_END = object()


def iterate_with_timeout(
    make: Callable[[], tf.data.Dataset], timeout_s: float, ahead: int = 2
) -> Iterator[Any]:
    """Yields the elements of a dataset until it ends, fails, or is silent for too long.

    The three cannot be told from what is yielded: the caller knows what should have come. After a
    silence the thread that reads is left behind, because nothing interrupts a blocked iterator.

    Args:
        make: Makes the dataset; may take its time as well.
        timeout_s: Longest silence, in seconds.
        ahead: Elements that are read ahead.
    """
    elements: queue.Queue[Any] = queue.Queue(ahead)
    stopped = threading.Event()

    def put(element: Any) -> None:
        while not stopped.is_set():
            try:
                return elements.put(element, timeout=_WAIT_S)
            except queue.Full:
                continue

    def read() -> None:
        try:
            for element in make():
                put(element)
                if stopped.is_set():
                    return
        except tf.errors.OpError:
            pass  # A service that went away: what is missing says so.
        put(_END)

    threading.Thread(target=read, name="feed-service", daemon=True).start()
    try:
        while (element := elements.get(timeout=timeout_s)) is not _END:
            yield element
    except queue.Empty:
        return
    finally:
        stopped.set()
