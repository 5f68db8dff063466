"""Callbacks that change which layers are trained, as Keras allows for ``fit()``."""

import contextlib
from collections.abc import Iterator, Sequence

import keras

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.model.state import layers_of


class TracedLayers:
    """The layers that the traced steps train.

    As in ``fit()``, steps train the layers that were trainable when they were traced. A later
    change of ``trainable`` has no effect until a callback calls
    ``make_train_function(force=True)``.

    Args:
        model: Built model.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._known = {id(weight) for weight in model.trainable_weights}
        self._built = _trainable_flags(model)
        self._traced: list[bool] | None = None
        self._is_requested = self._is_restored = False

    @contextlib.contextmanager
    def tracing(self) -> Iterator[None]:
        """Makes those layers trainable that were so when the steps were traced before."""
        current = _trainable_flags(self._model)
        if self._traced is None:
            self._traced = current
        _set_trainable(self._model, self._traced)
        try:
            yield
        finally:
            _set_trainable(self._model, current)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Notices that a callback asks for new steps.

        Raises:
            ConfigError: A callback compiles the model.
        """
        model = self._model
        make_train_function = model.make_train_function

        def noticed(force: bool = False) -> None:
            self._is_requested |= force
            make_train_function(force)

        def refused(*args: object, **kwargs: object) -> None:
            del args, kwargs
            raise ConfigError(
                "callbacks_fn",
                received="a callback that compiles the model",
                expected="callbacks that keep optimizer, loss and metrics",
                fix="Assign trainable and call model.make_train_function(force=True), or train in "
                "two FeederTrainers, the second one with base_model.",
            )

        model.make_train_function, model.compile = noticed, refused
        try:
            yield
        finally:
            del model.make_train_function, model.compile

    def must_retrace(self, *, is_first: bool, processes: int) -> bool:
        """Returns True if the steps have to be traced again before the next one.

        Args:
            is_first: True before the first step of a training: steps that were traced before, to
                measure them, do not know what the callbacks have changed since.
            processes: Number of processes that train together.

        Raises:
            ConfigError: A layer was made trainable that the optimizer does not know; or other
                processes, which have no callbacks, would still train another set of layers.
        """
        if not self._is_requested and (not is_first or self._is_restored or not self._has_changed):
            return False
        self._is_requested, self._traced = False, None
        if processes > 1:
            raise ConfigError(
                "callbacks_fn",
                received=f"a callback that changes which layers {processes} processes train",
                expected="callbacks that leave them as they are: only the chief has callbacks",
                fix="Set trainable in model_fn, or use a strategy of one machine.",
            )
        if any(id(weight) not in self._known for weight in self._model.trainable_weights):
            raise ConfigError(
                "callbacks_fn",
                received="a callback that makes layers trainable for which the optimizer was not "
                "built",
                expected="layers that are trainable when model_fn returns",
                fix="Freeze them in on_train_begin instead of in model_fn.",
            )
        return True

    @property
    def _has_changed(self) -> bool:
        return _trainable_flags(self._model) != (self._traced or self._built)

    def state(self) -> list[list[bool]]:
        """Returns the flags of the traced steps and the current ones, for a checkpoint."""
        current = _trainable_flags(self._model)
        return [current if self._is_requested else self._traced or self._built, current]

    def restore(self, flags: Sequence[Sequence[bool]] | None) -> None:
        """Restores the value of ``state``; ``None`` if the checkpoint of a release has none."""
        if flags is not None:
            self._traced, self._is_restored = list(flags[0]), True
            _set_trainable(self._model, flags[1])


def _trainable_flags(model: keras.Model) -> list[bool]:
    """Returns whether each layer of a model is trainable, in the order of the model's parts."""
    return [layer.trainable for layer in layers_of(model)]


def _set_trainable(model: keras.Model, flags: Sequence[bool]) -> None:
    pairs = list(zip(layers_of(model), flags, strict=True))
    for _ in pairs:  # A layer passes its flag on to the layers in it, which the next pass mends.
        wrong = [(layer, flag) for layer, flag in pairs if layer.trainable != flag]
        if not wrong:
            return
        for layer, flag in wrong:
            layer.trainable = flag
