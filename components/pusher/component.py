"""The Pusher of TFX, with one more gate."""

# The processes of nodes import this, and tfx.v1 would bring clients of cloud services: seconds.
# TFX declares no exports in its public modules.
# pyright: reportPrivateImportUsage=false

from absl import logging
from tfx import types
from tfx.components.pusher import component, executor
from tfx.dsl.components.base import executor_spec

from tfx_feeder.schemas.properties import WITHDRAWN


class Executor(executor.Executor):
    """Does not push what was withdrawn."""

    def CheckBlessing(self, input_dict: dict[str, list[types.Artifact]]) -> bool:
        """Returns whether the model may be pushed."""
        for model in input_dict.get("model", ()):
            reason = model.get_string_custom_property(WITHDRAWN)
            if reason:
                logging.info("The model at %s was withdrawn: %s", model.uri, reason)
                return False
        return super().CheckBlessing(input_dict)


class Pusher(component.Pusher):
    """Pushes a blessed model, unless a rollback has withdrawn it.

    The mark on the model makes TFX evaluate it anew in the next run, instead of taking what came of
    it from the cache. The Pusher of TFX would then push the model once more.
    """

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)
