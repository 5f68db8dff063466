"""Executor of ModelCardGenerator."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import logging
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from tfx_feeder.common.mounts import local_path
from tfx_feeder.components.model_card.card import PushedModelInfo, write_card
from tfx_feeder.schemas.file_record import seal
from tfx_feeder.schemas.model_card import LineageEntry

_Artifacts = dict[str, list[types.Artifact]]


class Executor(base_executor.BaseExecutor):
    """Writes the card of the pushed model; see ``ModelCardGenerator``."""

    def Do(
        self, input_dict: _Artifacts, output_dict: _Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Writes the card if a model was pushed.

        Raises:
            DataError: A file of the model, its evaluation or its history cannot be read.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        record = artifact_utils.get_single_instance(output_dict["model_card"])
        pushed = artifact_utils.get_single_instance(input_dict["pushed_model"])
        was_pushed = pushed.get_int_custom_property("pushed")
        record.set_int_custom_property("pushed", was_pushed)
        if not was_pushed:
            logging.info("Nothing was pushed, so no card is written.")
            return
        described = self._describe(pushed, input_dict, exec_properties)
        card = write_card(described, Path(local_path(record.uri)))
        record.set_string_custom_property("pushed_version", card.pushed_version)
        if card.reason:
            record.set_string_custom_property("reason", card.reason)
        seal(output_dict)

    def _describe(
        self, pushed: types.Artifact, inputs: _Artifacts, exec_properties: dict[str, Any]
    ) -> PushedModelInfo:
        blessing = _first(inputs, "model_blessing")
        info = self._context.pipeline_info if self._context else None
        destination = pushed.get_string_custom_property("pushed_destination")
        return PushedModelInfo(
            # Pushers other than that of TFX may omit the version.
            version=pushed.get_string_custom_property("pushed_version") or Path(destination).name,
            destination=destination,
            archive=Path(local_path(pushed.uri)),
            pipeline=info.id if info else "",
            run_id=(self._context.pipeline_run_id if self._context else None) or "",
            lineage=tuple(sorted(_lineage(inputs), key=lambda origin: origin.id)),
            blessed=bool(blessing.get_int_custom_property("blessed")) if blessing else None,
            evaluation=_folder(inputs, "evaluation"),
            gate_report=_folder(inputs, "gate_report"),
            history=_folder(inputs, "training_history"),
            intended_slices=tuple(json.loads(exec_properties["intended_slices"])),
            reason=exec_properties.get("reason") or "",
        )


def _lineage(inputs: _Artifacts) -> Iterator[LineageEntry]:
    for role, artifacts in inputs.items():
        for artifact in artifacts:
            span = artifact.get_custom_property("span")
            yield LineageEntry(
                role=role,
                id=artifact.id,
                type_name=artifact.type_name,
                uri=artifact.uri,
                span=None if span is None else int(span),
            )
    blessing = _first(inputs, "model_blessing")
    if blessing and blessing.has_custom_property("baseline_model_id"):
        yield LineageEntry(
            role="baseline",
            id=blessing.get_int_custom_property("baseline_model_id"),
            type_name="Model",
            uri=blessing.get_string_custom_property("baseline_model"),
        )


def _first(inputs: _Artifacts, key: str) -> types.Artifact | None:
    return next(iter(inputs.get(key, ())), None)


def _folder(inputs: _Artifacts, key: str) -> Path | None:
    artifact = _first(inputs, key)
    return Path(local_path(artifact.uri)) if artifact else None
