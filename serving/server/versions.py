"""Versions of a model: found in its folder, loaded beside the served ones, then exchanged."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tensorflow_serving.apis import get_model_status_pb2

from tfx_feeder.serving.server.errors import Code, ServingError
from tfx_feeder.serving.server.options import ModelOptions
from tfx_feeder.serving.server.saved_model import SavedModel

State = get_model_status_pb2.ModelVersionStatus.State
START, LOADING, AVAILABLE = State.START, State.LOADING, State.AVAILABLE
UNLOADING, END = State.UNLOADING, State.END

_TRIES = 6
_RETRY_S = 60.0
"""Tries to load a version that does not change, and the time between them, in seconds."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Version:
    """Version of a model.

    Args:
        number: Name of its folder.
        state: State as TensorFlow Serving calls it.
        error: Reason why it is not served.
    """

    number: int
    state: Any = START
    error: ServingError | None = None
    model: SavedModel | None = None
    users: int = 0
    tries: int = 0
    tried_at: float = 0.0
    identity: object = None


class ModelVersions:
    """Versions of one model.

    Args:
        options: Folder and policy.
        load: Loads and warms up the model in a folder; raises ``ServingError``.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        options: ModelOptions,
        load: Callable[[Path], SavedModel],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.options = options
        self._load, self._clock = load, clock
        self._versions: dict[int, Version] = {}
        self._lock = threading.Lock()
        self._problem = ""

    def poll(self) -> None:
        """Looks at the folder once: loads new versions, then unloads those that are not wanted.

        Blocks while a version is loaded. Versions stay as long as no other is available, also if
        the folder is gone.
        """
        found = self._found()
        wanted = self.options.policy.choose(found)
        for number in wanted:
            if self._is_due(number, found[number]):
                self._try_to_load(number, found[number])
        with self._lock:
            available = {n for n, v in self._versions.items() if v.state == AVAILABLE}
            superseded = available - set(wanted) if available & set(wanted) else set()
            labelled = set(self.options.labels.values())
            unused = [self._retire(number) for number in superseded - labelled]
        for model in filter(None, unused):
            model.close()

    @contextmanager
    def acquire(
        self, version: int | None = None, label: str = ""
    ) -> Iterator[tuple[int, SavedModel]]:
        """Holds a version, so that it is not unloaded meanwhile.

        Args:
            version: Number of the version; ``None`` for the newest.
            label: Label of the version, instead of its number.

        Yields:
            Number of the version and its model.

        Raises:
            ServingError: The version is not available.
        """
        with self._lock:
            held, model = self._find(version, label)
            held.users += 1
        try:
            yield held.number, model
        finally:
            with self._lock:
                held.users -= 1
                closing = held.model if held.state == UNLOADING and not held.users else None
                if closing is not None:
                    held.state, held.model = END, None
            if closing is not None:
                closing.close()

    def statuses(self, version: int | None = None, label: str = "") -> list[Version]:
        """Returns the versions that were ever loaded, or one of them, the newest first.

        Args:
            version: Number of the one wanted; ``None`` for all.
            label: Label of the one wanted, instead of its number.

        Raises:
            ServingError: There is no such version.
        """
        with self._lock:
            if label:
                version = self._labelled(label)
            chosen = [v for n, v in self._versions.items() if version in (None, n)]
        if version is not None and not chosen:
            raise self._missing(f"version {version}")
        return sorted(chosen, key=lambda each: -each.number)

    def update(self, options: ModelOptions) -> None:
        """Sets new options; the next look follows them.

        Raises:
            ServingError: A label is that of a version which is not available.
        """
        with self._lock:
            for label, number in options.labels.items():
                version = self._versions.get(number)
                known = self.options.labels.get(label) == number
                if not known and (version is None or version.state != AVAILABLE):
                    raise ServingError(
                        Code.FAILED_PRECONDITION,
                        f"label {label!r} of model {options.name!r}: version {number} is not "
                        "available",
                    )
            self.options = options

    def close(self) -> None:
        """Unloads all versions, each when its last request has ended."""
        with self._lock:
            unused = [self._retire(number) for number in self._versions]
        for model in filter(None, unused):
            model.close()

    def _found(self) -> Mapping[int, Path]:
        """Returns the folders of complete versions; reports once if there are none."""
        found: dict[int, Path] = {}
        problem = ""
        try:
            for folder in self.options.base_path.iterdir():
                numbered = folder.name.isascii() and folder.name.isdigit()
                # The Pusher writes saved_model.pb last.
                if numbered and (folder / "saved_model.pb").is_file():
                    found[int(folder.name)] = folder
        except OSError as error:
            problem = f"{self.options.base_path} cannot be read: {error.strerror}"
        if not found:
            problem = problem or f"{self.options.base_path} holds no version of a SavedModel"
        if problem and problem != self._problem:
            _log.warning("model %s: %s; what is served stays", self.options.name, problem)
        self._problem = problem
        return found

    def _is_due(self, number: int, folder: Path) -> bool:
        with self._lock:
            version = self._versions.get(number)
        if version is None:
            return True
        if version.state != END:
            return False
        if version.error is None or version.identity != _identity(folder):
            return True
        waited = self._clock() - version.tried_at
        return version.tries < _TRIES and waited >= _RETRY_S

    def _try_to_load(self, number: int, folder: Path) -> None:
        identity = _identity(folder)
        with self._lock:
            version = self._versions.get(number)
            if version is None or version.identity != identity:
                version = self._versions[number] = Version(number, identity=identity)
            version.state, version.error = LOADING, None
            version.tries += 1
        name = f"model {self.options.name}, version {number}"
        started = self._clock()
        try:
            model = self._load(folder)
        except Exception as error:
            reason = (
                error if isinstance(error, ServingError) else ServingError(Code.UNKNOWN, str(error))
            )
            with self._lock:
                version.state, version.error = END, reason
                version.tried_at = self._clock()
            _log.error("%s: %s", name, reason.message)
            return
        with self._lock:
            version.model, version.state = model, AVAILABLE
        _log.info("%s: available after %.1f s", name, self._clock() - started)

    def _retire(self, number: int) -> SavedModel | None:
        """Takes a version out of service and returns its model if nobody uses it."""
        version = self._versions[number]
        if version.state != AVAILABLE:
            return None
        if version.users:
            version.state = UNLOADING
            return None
        version.state, model, version.model = END, version.model, None
        return model

    def _find(self, number: int | None, label: str) -> tuple[Version, SavedModel]:
        if label:
            number = self._labelled(label)
        available = {
            n: (version, version.model)
            for n, version in self._versions.items()
            if version.state == AVAILABLE and version.model is not None
        }
        wanted = max(available, default=None) if number is None else number
        if wanted not in available:
            raise self._missing("any version" if number is None else f"version {number}")
        return available[wanted]

    def _labelled(self, label: str) -> int:
        number = self.options.labels.get(label)
        if number is None:
            raise ServingError(
                Code.INVALID_ARGUMENT,
                f"Unrecognized servable version label: {label}; model {self.options.name!r} has: "
                f"{', '.join(sorted(self.options.labels)) or 'none'}",
            )
        return number

    def _missing(self, what: str) -> ServingError:
        reason = f" ({self._problem})" if self._problem else ""
        return ServingError(
            Code.NOT_FOUND,
            f"Servable not found for request: {what} of model {self.options.name!r}{reason}",
        )


def _identity(folder: Path) -> object:
    try:
        status = (folder / "saved_model.pb").stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
