"""Pusher that does not push withdrawn models."""

# Node processes import this module, and importing tfx.v1 loads cloud clients, which takes seconds.
# TFX declares no exports in its public modules.
# pyright: reportPrivateImportUsage=false

from absl import logging
from tfx import types
from tfx.components.pusher import component, executor
from tfx.dsl.components.base import executor_spec

from tfx_feeder.schemas.properties import WITHDRAWN


class Executor(executor.Executor):
    """Executor of the Pusher that skips withdrawn models."""

    def CheckBlessing(self, input_dict: dict[str, list[types.Artifact]]) -> bool:
        """Returns True if the model is blessed and was not withdrawn."""
        for model in input_dict.get("model", ()):
            reason = model.get_string_custom_property(WITHDRAWN)
            if reason:
                logging.info("The model at %s was withdrawn: %s", model.uri, reason)
                return False
        return super().CheckBlessing(input_dict)


class Pusher(component.Pusher):
    """Pushes a blessed model, unless a rollback has withdrawn it.

    Marking a model as withdrawn changes the artifact, so that TFX evaluates it again in the next
    run instead of using the cache. The stock Pusher would then push the model again.
    """

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)
