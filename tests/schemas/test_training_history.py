"""The training history's file: exact, versioned, whole or not at all."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.factories import epoch_record, history, phase_record
from tfx_feeder.common.errors import DataError
from tfx_feeder.schemas.training_history import (
    FILE_NAME,
    VERSION,
    CandidateRecord,
    EpochRecord,
    Event,
    History,
    StrategyRecord,
    read,
    write,
)


def _epoch(epoch: int = 0, **changes: Any) -> EpochRecord:
    row = epoch_record(
        epoch,
        steps=4,
        step_ms_p95=12.5,
        first_step_s=1.5 if epoch == 0 else None,
        metrics={"loss": 0.1 + epoch, "val_loss": 0.3},
    )
    return dataclasses.replace(row, **changes)


def _history(**changes: Any) -> History:
    whole = history(
        schedule={"phases": [], "steps_per_epoch": None},
        feed={"label_key": "label", "cache_chosen": "memory (0.1 MiB)"},
        code_fingerprint="0123456789abcdef",
        environment={"keras": "3"},
        seconds=5.0,
        epochs=(_epoch(0), _epoch(1, seconds=6.0, input_wait_pct=5.0)),
        phases=(
            phase_record(
                steps=8,
                seconds=8.0,
                examples_per_s=25.0,
                input_wait_pct=10.0,
                metrics={"loss": 1.1},
            ),
        ),
        events=(Event("warm_start", 0, "Größe 3 x 3."),),
    )
    return dataclasses.replace(whole, **changes)


def test_round_trip_is_exact(tmp_path: Path) -> None:
    path = write(_history(), tmp_path / "new" / "folder")

    assert path == tmp_path / "new" / "folder" / FILE_NAME
    assert read(path.parent) == _history()


@given(value=st.floats(allow_nan=False))
def test_metrics_round_trip_to_the_last_bit(
    tmp_path_factory: pytest.TempPathFactory, value: float
) -> None:
    history = _history(epochs=(_epoch(metrics={"loss": value}),))
    folder = tmp_path_factory.getbasetemp()
    write(history, folder)

    assert read(folder).epochs == history.epochs


def test_a_diverged_training_is_still_strict_json(tmp_path: Path) -> None:
    metrics = {"loss": math.nan, "mse": math.inf, "accuracy": 0.1}
    path = write(_history(epochs=(_epoch(metrics=metrics),)), tmp_path)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    json.loads(path.read_text(), parse_constant=refuse)
    restored = read(tmp_path).epochs[0].metrics
    assert math.isnan(restored["loss"])
    assert restored["mse"] == math.inf
    assert restored["accuracy"] == 0.1


def test_summary_weighs_epochs_by_their_time() -> None:
    assert (
        _history().summary().items()
        >= {
            "strategy": "sequential",
            "num_examples": 100,
            "examples_seen": 200,
            "epochs": 2,
            "phases": 1,
            "seconds": 5.0,
            "code_fingerprint": "0123456789abcdef",
            "examples_per_s": 25.0,
            "input_wait_pct": 10.0,
            "final_loss": 1.1,
            "final_val_loss": 0.3,
        }.items()
    )


def test_where_the_code_stood_is_among_the_headlines() -> None:
    environment = {"keras": "3", "git_commit": "abc", "git_dirty": "no"}
    summary = _history(environment=environment).summary()

    assert summary.items() >= {("git_commit", "abc"), ("git_dirty", "no")}
    assert not {"keras", "git_commit"} & _history().summary().keys()


def test_summary_of_a_diverged_training_holds_no_number_that_ml_metadata_refuses() -> None:
    summary = _history(epochs=(_epoch(metrics={"loss": math.nan, "mse": math.inf}),)).summary()

    assert (summary["final_loss"], summary["final_mse"]) == ("nan", "inf")
    assert all(math.isfinite(v) for v in summary.values() if isinstance(v, float))


def test_summary_without_epochs() -> None:
    summary = _history(epochs=(), phases=()).summary()

    assert (summary["epochs"], summary["examples_seen"]) == (0, 0)
    assert "examples_per_s" not in summary


def _candidate(strategy: str, **changes: Any) -> CandidateRecord:
    row = CandidateRecord(
        strategy=strategy,
        replicas=1,
        devices=("CPU:0",),
        probe={"start_s": 0.5, "steps": [{"batch_size": 32, "median_s": 0.01}]},
        predicted_s=10.0,
        low_s=9.5,
        high_s=11.25,
        cost=0.003,
        verdict="chosen",
        reason="the cheapest in time",
        actual_s=12.5,
    )
    return dataclasses.replace(row, **changes)


def test_the_choice_of_a_strategy_round_trips(tmp_path: Path) -> None:
    unprobed = _candidate(
        "mirrored",
        probe=None,
        predicted_s=None,
        low_s=None,
        high_s=None,
        cost=None,
        verdict="not probed",
        actual_s=None,
    )
    history = _history(
        candidates=(unprobed, _candidate("sequential")),
        placement=StrategyRecord({"name": "sequential", "cluster": None}, attempts=2),
    )
    write(history, tmp_path)

    assert read(tmp_path) == history


def test_prediction_and_what_happened_are_among_the_headlines() -> None:
    history = _history(candidates=(_candidate("mirrored", verdict="too slow"), _candidate("b")))

    assert history.chosen == _candidate("b")
    assert history.summary().items() >= {("predicted_s", 10.0), ("actual_to_predicted", 1.25)}
    assert not {"predicted_s", "actual_to_predicted"} & _history().summary().keys()


def test_files_of_earlier_releases_are_read(tmp_path: Path) -> None:
    path = write(_history(), tmp_path)
    document = json.loads(path.read_text())
    del document["candidates"], document["placement"]
    path.write_text(json.dumps(document))

    assert read(tmp_path) == _history()


def test_names_of_version_1_are_mapped(tmp_path: Path) -> None:
    phase = dataclasses.replace(_history().phases[0], verdict="sync-bound")
    events = (
        Event("to_beat", 0, "The base model has val_loss 1."),
        Event("kept", 100, "The batch stays at 32."),
        *_history().events,
    )
    path = write(_history(phases=(phase,), events=events), tmp_path)
    path.write_text(path.read_text().replace(f'"version": {VERSION}', '"version": 1'))

    history = read(tmp_path)
    assert history.phases[0].verdict == "communication-bound"
    kinds = [event.kind for event in history.events]
    assert kinds == ["baseline_metric", "unchanged", "warm_start"]


def test_no_folder_and_no_file(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DataError, match=FILE_NAME):
            read(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "{}", '{"format": "other"}', "\x00"])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text)

    with pytest.raises(DataError, match=FILE_NAME):
        read(tmp_path)


def _change(document: dict[str, Any], key: str, value: Any) -> None:
    if value is KeyError:
        del document[key]
    else:
        document[key] = value


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", KeyError),
        ("seconds", KeyError),
        ("epochs", None),
        ("epochs", [{"epoch": 0}]),
        ("phases", [3]),
        ("candidates", [{"strategy": "sequential"}]),
        ("placement", {"place": 1}),
        ("unknown", 1),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, key: str, value: Any) -> None:
    path = write(_history(), tmp_path)
    document = json.loads(path.read_text())
    _change(document, key, value)
    path.write_text(json.dumps(document))

    with pytest.raises(DataError, match="is damaged"):
        read(tmp_path)


def test_a_newer_version_asks_for_an_upgrade(tmp_path: Path) -> None:
    path = write(_history(), tmp_path)
    path.write_text(path.read_text().replace(f'"version": {VERSION}', f'"version": {VERSION + 1}'))

    with pytest.raises(DataError, match=f"has version {VERSION + 1}.* Upgrade"):
        read(tmp_path)


def test_a_failed_write_leaves_the_older_file_whole(tmp_path: Path) -> None:
    write(_history(), tmp_path)
    unwritable = _history(feed={"options": object()})

    with pytest.raises(TypeError):
        write(unwritable, tmp_path)

    assert read(tmp_path) == _history()


def test_a_disk_that_is_full_leaves_the_older_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(_history(), tmp_path)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space"):
        write(_history(num_examples=7), tmp_path)

    assert read(tmp_path) == _history()
