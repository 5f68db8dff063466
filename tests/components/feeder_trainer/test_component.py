"""FeederTrainer as it is declared: what fails before anything runs, and what is stored."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tfx import v1 as tfx_v1
from tfx.types import standard_artifacts

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components import FeederTrainer
from tfx_feeder.components.feeder_trainer.distribution.options import SingleDevice, Strategy
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions, from_json
from tfx_feeder.components.feeder_trainer.model.user_module import UserCode
from tfx_feeder.components.feeder_trainer.schedules.parser import parse_schedule
from tfx_feeder.components.feeder_trainer.schedules.schedule import Schedule
from tfx_feeder.components.feeder_trainer.training.early_stopping import BaselineEarlyStopping
from tfx_feeder.components.feeder_trainer.training.options import TrainingOptions

TAXI_MODEL = str(Path(__file__).parents[2] / "e2e" / "taxi_example.py")


def _channel(kind: type) -> Any:
    return tfx_v1.dsl.Channel(type=kind)


def _trainer(**changes: Any) -> FeederTrainer:
    arguments = {
        "examples": _channel(standard_artifacts.Examples),
        "schema": _channel(standard_artifacts.Schema),
        "module_file": TAXI_MODEL,
        "schedule": "0.01:32x10",
        **changes,
    }
    return FeederTrainer(**{k: v for k, v in arguments.items() if v is not None})


def test_its_outputs_are_those_of_the_stock_trainer_and_the_history() -> None:
    stock = tfx_v1.components.Trainer(
        examples=_channel(standard_artifacts.Examples), run_fn="any.run_fn"
    )

    types = {key: channel.type for key, channel in _trainer().outputs.items()}

    history = types.pop("training_history")
    assert history.TYPE_NAME == "tfx_feeder.TrainingHistory"
    assert types == {key: channel.type for key, channel in stock.outputs.items()}


def test_what_is_stored_reads_back() -> None:
    schedule = Schedule([(0.01, 32, 10), (0.005, 64, "2000steps")], steps_per_epoch=200)
    feed = FeedOptions(label_key="big_tip", cache="none")

    config = {"b": [1], "a": None}
    training = TrainingOptions(
        early_stopping=BaselineEarlyStopping("val_accuracy", "max", tolerance=0.02)
    )
    stored = _trainer(
        schedule=schedule,
        feed=feed,
        training=training,
        base_model=_channel(standard_artifacts.Model),
        warm_start="off",
        custom_config=config,
    ).exec_properties

    assert parse_schedule(stored["schedule"]) == schedule
    assert from_json(FeedOptions, stored["feed"]) == feed
    assert TrainingOptions.from_json(stored["loop"]) == training
    assert Strategy.from_json(stored["strategy"]) == SingleDevice()
    assert json.loads(stored["custom_config"]) == config
    assert stored["code_fingerprint"] == UserCode(module_file=TAXI_MODEL).fingerprint()


def test_an_edit_of_the_model_changes_what_the_cache_compares(tmp_path: Path) -> None:
    module = tmp_path / "model.py"
    module.write_bytes(Path(TAXI_MODEL).read_bytes())
    before = _trainer(module_file=str(module)).exec_properties
    same = _trainer(module_file=str(module)).exec_properties
    with module.open("a") as file:
        file.write("# edited\n")

    assert same == before
    assert _trainer(module_file=str(module)).exec_properties != before


@pytest.mark.parametrize(
    ("changes", "argument"),
    [
        ({"schedule": "0.01:32"}, "schedule"),
        ({"schedule": "0:32x10"}, "learning_rate"),
        ({"schedule": [(0.01, -1, 10)]}, "batch_size"),
        ({"schedule": [(0.01, 32, 0)]}, "length"),
        ({"module_file": None}, "model_fn, module_file"),
        ({"model_fn": "package.model_fn"}, "model_fn, module_file"),
        ({"module_file": "/no/such/model.py"}, "module_file"),
        ({"module_file": None, "model_fn": "no_such_package.model_fn"}, "model_fn"),
        ({"module_file": None, "model_fn": "json.no_such_function"}, "model_fn"),
        ({"schema": None}, "schema"),
        ({"warm_start": "maybe"}, "warm_start"),
        ({"custom_config": {"layer": object()}}, "custom_config"),
        ({"custom_config": 3}, "custom_config"),
        ({"feed": {"label_key": "big_tip"}}, "feed"),
        ({"strategy": "mirrored"}, "strategy"),
        ({"training": {"probe": False}}, "training"),
        (
            {"training": TrainingOptions(early_stopping=BaselineEarlyStopping("val_loss", "min"))},
            "base_model",
        ),
        ({"tuned_learning_rate": "learning_rate"}, "hyperparameters"),
    ],
)
def test_a_bad_argument_is_refused_when_the_pipeline_is_built(
    changes: dict[str, Any], argument: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        _trainer(**changes)

    assert caught.value.argument == argument


def test_an_argument_that_does_not_exist_is_refused() -> None:
    with pytest.raises(TypeError, match="train_args"):
        _trainer(train_args=3)


def test_the_class_loads_lazily() -> None:
    program = (
        "import sys, tfx_feeder.components as package\n"
        "assert 'tfx' not in sys.modules\n"
        "assert 'FeederTrainer' in dir(package)\n"
        "try: package.NoSuchComponent\n"
        "except AttributeError as error: assert 'NoSuchComponent' in str(error)\n"
        "else: raise AssertionError\n"
    )

    subprocess.run([sys.executable, "-c", program], check=True)
