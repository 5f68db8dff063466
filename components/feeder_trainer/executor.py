"""Executor of FeederTrainer: reads the input artifacts, trains, and writes the output artifacts."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_transform.tf_metadata import schema_utils
from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import io_utils, path_utils

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.common.git import git_state
from tfx_feeder.common.mounts import local_path
from tfx_feeder.components.feeder_trainer.distribution.devices import reserve_gpus
from tfx_feeder.components.feeder_trainer.distribution.fit import FitSpec
from tfx_feeder.components.feeder_trainer.distribution.options import Strategy
from tfx_feeder.components.feeder_trainer.feed.mixture import SplitFiles, all_paths, group_by_source
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions, from_json
from tfx_feeder.components.feeder_trainer.model.builder import ModelContext
from tfx_feeder.components.feeder_trainer.model.user_module import UserCode
from tfx_feeder.components.feeder_trainer.schedules.initial_rate import with_learning_rate
from tfx_feeder.components.feeder_trainer.schedules.parser import parse_schedule
from tfx_feeder.components.feeder_trainer.train import TrainSpec, train
from tfx_feeder.components.feeder_trainer.training.options import TrainingOptions
from tfx_feeder.schemas import training_history
from tfx_feeder.schemas.file_record import seal

KERAS_FORMAT_DIR = "Format-Keras"
"""Folder of the Keras file in a Model artifact, next to the ``Format-Serving`` of TFX."""

_PAYLOADS = ("FORMAT_TF_EXAMPLE", "FORMAT_PARQUET")

_Artifacts = dict[str, list[types.Artifact]]


class Executor(base_executor.BaseExecutor):
    """Trains and exports a model and records its training history; see ``FeederTrainer``."""

    def Do(
        self, input_dict: _Artifacts, output_dict: _Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Runs a training.

        Args:
            input_dict: Input artifacts by key.
            output_dict: Output artifacts by key.
            exec_properties: Execution properties by name.

        Raises:
            ConfigError: Schedule, feed or model do not fit the data.
            DataError: The Examples cannot be read.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        feed = from_json(FeedOptions, exec_properties["feed"])
        strategy = Strategy.from_json(exec_properties["strategy"])
        reserve_gpus(strategy)  # The layer of the Transform graph opens the devices.
        custom_config = json.loads(exec_properties["custom_config"])
        graph_path = _optional_path(input_dict, "transform_graph")
        graph = tft.TFTransformOutput(graph_path) if graph_path else None
        schema_path = _optional_path(input_dict, "schema")
        schema = None
        if schema_path:
            schema = io_utils.SchemaReader().read(io_utils.get_only_uri_in_dir(schema_path))
        if graph is not None:
            raw_spec, feature_spec = graph.raw_feature_spec(), graph.transformed_feature_spec()
        else:
            feature_spec = raw_spec = schema_utils.schema_as_feature_spec(schema).feature_spec
        layer = graph.transform_features_layer() if graph else None
        base_path = _optional_path(input_dict, "base_model")
        warm_start = exec_properties["warm_start"]
        start_path = None if warm_start == "off" else base_path
        model_path = local_path(artifact_utils.get_single_uri(output_dict["model"]))
        run_path = local_path(artifact_utils.get_single_uri(output_dict["model_run"]))

        code = UserCode(exec_properties.get("model_fn"), exec_properties.get("module_file"))
        # Read before training, because the code may be edited during training.
        repository = repository_of(code)
        train_splits = read_splits(input_dict["examples"], feed.train_splits)
        hyperparameters = _hyperparameters(input_dict)
        schedule = parse_schedule(exec_properties["schedule"])
        if tuned := exec_properties.get("tuned_learning_rate"):
            schedule = with_learning_rate(schedule, tuned_value(hyperparameters, tuned))
        fit = FitSpec(
            code=code,
            context=ModelContext(
                feature_spec=feature_spec,
                feed=feed,
                hyperparameters=hyperparameters,
                custom_config=custom_config,
                schema=schema,
                transform_graph_path=graph_path,
                base_model_path=start_path,
                train_files=tuple(sorted(all_paths(train_splits))),
            ),
            schedule=schedule,
            strategy=strategy,
            train_files=group_by_source(train_splits, feed.mix),
            eval_files=all_paths(read_splits(input_dict["examples"], feed.eval_splits)),
            checkpoint_dir=checkpoint_dir(model_path, input_dict, exec_properties),
            start_from=_keras_dir(start_path),
            strict_start=warm_start == "strict",
            baseline=_keras_dir(base_path),
            training=TrainingOptions.from_json(exec_properties["loop"]),
        )
        record = artifact_utils.get_single_instance(output_dict["training_history"])

        def complete(history: training_history.History) -> None:
            environment = {**history.environment, **repository}
            history = dataclasses.replace(history, environment=environment)
            training_history.write(history, local_path(record.uri))
            for name, value in history.summary().items():
                _set_custom_property(record, name, value)
            seal(output_dict)

        spec = TrainSpec(
            fit=fit,
            raw_feature_spec=raw_spec,
            transform=layer,
            serving_dir=path_utils.serving_model_dir(model_path),
            keras_dir=os.path.join(model_path, KERAS_FORMAT_DIR),
            log_dir=run_path,
            profile_dir=os.path.join(os.path.dirname(os.path.dirname(model_path)), "probes"),
        )
        train(spec, complete=complete)


def _optional_path(input_dict: _Artifacts, key: str) -> str | None:
    artifacts = input_dict.get(key)
    return local_path(artifact_utils.get_single_uri(artifacts)) if artifacts else None


def _keras_dir(model_path: str | None) -> str | None:
    return os.path.join(model_path, KERAS_FORMAT_DIR) if model_path else None


def repository_of(code: UserCode) -> dict[str, str]:
    """Returns the Git commit of code as entries for the environment of a training history."""
    state = git_state(code.sources().values())
    if state is None:
        return {}
    return {
        training_history.GIT_COMMIT: state.commit,
        training_history.GIT_DIRTY: "yes" if state.dirty else "no",
    }


def _hyperparameters(input_dict: _Artifacts) -> dict[str, Any] | None:
    path = _optional_path(input_dict, "hyperparameters")
    if path is None:
        return None
    return json.loads(io_utils.read_string_file(io_utils.get_only_uri_in_dir(path)))


def tuned_value(hyperparameters: Mapping[str, Any] | None, name: str) -> Any:
    """Returns the value of a hyperparameter.

    Args:
        hyperparameters: Contents of a HyperParameters artifact: the configuration of KerasTuner's
            ``HyperParameters``, or a mapping from names to values.
        name: Name of the hyperparameter.

    Raises:
        ConfigError: There is no such hyperparameter.
    """
    values = (hyperparameters or {}).get("values", hyperparameters) or {}
    if name not in values:
        raise ConfigError("tuned_learning_rate", received=name, expected=f"one of {sorted(values)}")
    return values[name]


def read_splits(examples: Sequence[types.Artifact], names: Sequence[str]) -> list[SplitFiles]:
    """Lists the files of splits in all Examples artifacts, such as several spans.

    Args:
        examples: Examples artifacts.
        names: Names of the splits.

    Raises:
        ConfigError: The payload of an artifact is neither tf.Example nor Parquet.
    """
    for artifact in examples:
        payload = examples_utils.get_payload_format_string(artifact)
        if payload not in _PAYLOADS:
            raise ConfigError(
                "examples",
                received=f"{payload} at {artifact.uri}",
                expected=f"Examples with a payload among {', '.join(_PAYLOADS)}",
                fix="Convert them to tf.Example with Transform or a custom ExampleGen.",
            )
    return [
        SplitFiles(name, _span(artifact), tf.io.gfile.glob(local_path(pattern)))
        for name in names
        for artifact in examples
        for pattern in examples_utils.get_split_file_patterns([artifact], name)
    ]


def _span(artifact: types.Artifact) -> int | None:
    # ExampleGen writes a custom property; the declared property stays 0.
    value = artifact.get_custom_property("span")
    return None if value is None else int(value)


def checkpoint_dir(model_path: str, input_dict: _Artifacts, exec_properties: dict[str, Any]) -> str:
    """Returns the checkpoint folder, which is the same for all attempts at a training.

    TFX gives each attempt a different output folder. The name of this folder is therefore a hash of
    inputs and execution properties, and the folder is next to the outputs of the component. The
    strategy is not part of the hash: fewer workers or another strategy can resume the training of
    a cluster.

    Args:
        model_path: Folder of the output model.
        input_dict: Input artifacts by key.
        exec_properties: Execution properties by name.
    """
    exec_properties = {key: v for key, v in exec_properties.items() if key != "strategy"}
    inputs = {key: sorted(a.uri for a in artifacts) for key, artifacts in input_dict.items()}
    document = json.dumps([inputs, exec_properties], sort_keys=True, default=str)
    key = hashlib.sha256(document.encode()).hexdigest()[:16]
    return os.path.join(os.path.dirname(os.path.dirname(model_path)), "checkpoints", key)


def _set_custom_property(artifact: types.Artifact, name: str, value: int | float | str) -> None:
    if isinstance(value, str):
        artifact.set_string_custom_property(name, value)
    elif isinstance(value, float):
        artifact.set_float_custom_property(name, value)
    else:
        artifact.set_int_custom_property(name, value)
