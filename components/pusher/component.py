"""Pusher that does not push withdrawn models, and whose versions appear whole."""

# Node processes import this module, and importing tfx.v1 loads cloud clients, which takes seconds.
# TFX declares no exports in its public modules, and messages get their names at run time.
# pyright: reportPrivateImportUsage=false, reportAttributeAccessIssue=false

import os
from pathlib import Path
from typing import Any

from absl import logging
from google.protobuf import json_format
from tfx import types
from tfx.components.pusher import component, executor
from tfx.dsl.components.base import executor_spec
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils

from tfx_feeder.components.pusher.versions import incoming_folder, publish
from tfx_feeder.schemas.file_record import seal
from tfx_feeder.schemas.properties import WITHDRAWN

_DESTINATION = "push_destination"
_Artifacts = dict[str, list[types.Artifact]]


class Executor(executor.Executor):
    """Executor of the Pusher that skips withdrawn models and publishes complete versions."""

    def CheckBlessing(self, input_dict: _Artifacts) -> bool:
        """Returns True if the model is blessed and was not withdrawn."""
        for model in input_dict.get("model", ()):
            reason = model.get_string_custom_property(WITHDRAWN)
            if reason:
                logging.info("The model at %s was withdrawn: %s", model.uri, reason)
                return False
        return super().CheckBlessing(input_dict)

    def Do(
        self, input_dict: _Artifacts, output_dict: _Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Lets the stock Pusher copy the model into a hidden folder, and renames the copy.

        Destinations on object stores, where folders cannot be renamed, are left to the stock
        Pusher.

        Args:
            input_dict: Input artifacts by key.
            output_dict: Output artifacts by key.
            exec_properties: Execution properties by name.
        """
        destination = json_format.Parse(
            exec_properties[_DESTINATION] or "{}",
            pusher_pb2.PushDestination(),
            ignore_unknown_fields=True,
        )
        base = destination.filesystem.base_directory
        if not base or "://" in base:
            super().Do(input_dict, output_dict, exec_properties)
            seal(output_dict)
            return
        with incoming_folder(Path(base)) as incoming:
            destination.filesystem.base_directory = str(incoming)
            hidden = json_format.MessageToJson(destination, preserving_proto_field_name=True)
            super().Do(input_dict, output_dict, {**exec_properties, _DESTINATION: hidden})
            seal(output_dict)
            pushed = artifact_utils.get_single_instance(output_dict["pushed_model"])
            if not pushed.get_int_custom_property("pushed"):
                return
            [written] = incoming.iterdir()
            version = publish(written, Path(base))
        logging.info("The model is served from %s.", version)
        pushed.set_string_custom_property("pushed_destination", os.path.join(base, version.name))
        pushed.set_string_custom_property("pushed_version", version.name)


class Pusher(component.Pusher):
    """Pushes a blessed model, unless a rollback has withdrawn it.

    Marking a model as withdrawn changes the artifact, so that TFX evaluates it again in the next
    run instead of using the cache. The stock Pusher would then push the model again.

    The model is copied into a hidden folder, flushed to the disk and renamed, so that a server
    never sees a part of it. Versions only grow: the Unix time, or one more than the highest version
    in the folder if that is not lower.
    """

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)
