"""Models of a server by name."""

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from tfx_feeder.serving.server.errors import Code, ServingError
from tfx_feeder.serving.server.options import ModelOptions
from tfx_feeder.serving.server.saved_model import SavedModel
from tfx_feeder.serving.server.versions import AVAILABLE, ModelVersions

_log = logging.getLogger(__name__)


class Models:
    """Models of a server, whose folders one thread watches.

    Args:
        options: Models.
        load: Loads and warms up the model in a folder.
        poll_s: Time between looks at the folders, in seconds.
    """

    def __init__(
        self, options: Sequence[ModelOptions], load: Callable[[Path], SavedModel], poll_s: float
    ) -> None:
        self._load, self._poll_s = load, poll_s
        self._models = {each.name: ModelVersions(each, load) for each in options}
        self._lock = threading.Lock()
        self._wake, self._stopping = threading.Event(), False
        self._thread = threading.Thread(target=self._watch, name="versions", daemon=True)

    def start(self) -> None:
        """Loads what there is, then watches."""
        self.poll()
        self._thread.start()

    def stop(self) -> None:
        """Stops watching, and unloads the models when their last requests have ended."""
        self._stopping = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join()
        for model in self._all():
            model.close()

    def poll(self) -> None:
        """Looks at all folders once."""
        for model in self._all():
            model.poll()

    def get(self, name: str) -> ModelVersions:
        """Returns a model.

        Raises:
            ServingError: There is no such model.
        """
        with self._lock:
            model = self._models.get(name)
            names = ", ".join(sorted(self._models))
        if model is None:
            raise ServingError(
                Code.NOT_FOUND, f"Could not find any versions of model {name}; there are: {names}"
            )
        return model

    def names(self) -> list[str]:
        """Returns the names of the models."""
        return sorted(model.options.name for model in self._all())

    def are_ready(self) -> bool:
        """Returns True if every model has an available version."""
        return all(
            any(version.state == AVAILABLE for version in model.statuses()) for model in self._all()
        )

    def reload(self, options: Sequence[ModelOptions]) -> None:
        """Replaces the models; those of the same name and folder keep what they serve.

        Raises:
            ServingError: A label is that of a version which is not available.
        """
        with self._lock:
            kept: dict[str, ModelVersions] = {}
            for each in options:
                model = self._models.get(each.name)
                if model is not None and model.options.base_path == each.base_path:
                    model.update(each)
                    kept[each.name] = model
                else:
                    kept[each.name] = ModelVersions(each, self._load)
            dropped = [m for name, m in self._models.items() if kept.get(name) is not m]
            self._models = kept
        for model in dropped:
            model.close()
        self._wake.set()

    def _all(self) -> list[ModelVersions]:
        with self._lock:
            return list(self._models.values())

    def _watch(self) -> None:
        while not self._stopping:
            self._wake.wait(self._poll_s)
            self._wake.clear()
            if self._stopping:
                return
            try:
                self.poll()
            except Exception:
                _log.exception("a look at the models failed; the next one follows")
