"""Results of two models, read from the messages of an evaluation."""

from pathlib import Path
from typing import Any

from tfx_feeder.schemas.model_comparison import (
    AnswerCounts,
    Estimate,
    MeasureSums,
    from_messages,
)
from tfx_feeder.schemas.tfma import parse


def _message(**columns: bytes) -> Any:
    message = parse("MetricsForSlice", b"", Path("here"))
    for column, value in columns.items():
        message.slice_key.single_slice_keys.add(column=column, bytes_value=value)
    return message


def _add(message: Any, name: str, model: str = "candidate", *, is_diff: bool = False) -> Any:
    pair = message.metric_keys_and_values.add()
    pair.key.name, pair.key.model_name, pair.key.is_diff = name, model, is_diff
    return pair


def test_counts_sums_and_standard_errors() -> None:
    message = _message()
    _add(message, "example_count").value.double_value.value = 100
    _add(message, "paired_accuracy").value.array_value.int64_values.extend([80, 10, 5, 5])
    _add(message, "paired_loss").value.array_value.float64_values.extend([100, 0.5, 0.2, 0.6, 0.1])
    for model, value in (("candidate", 0.9), ("baseline", 0.8)):
        _add(message, "auc", model).value.double_value.value = value
    difference = _add(message, "auc", is_diff=True)
    difference.value.double_value.value = 0.1
    difference.confidence_interval.standard_error.double_value.value = 0.02
    difference.confidence_interval.degrees_of_freedom.value = 19

    [found] = from_messages([message])

    assert (found.name, found.columns, found.examples) == ("all examples", (), 100)
    assert found.has_baseline
    assert found.metrics == ("accuracy", "auc", "loss")
    assert found.answers == {"accuracy": AnswerCounts(80, 10, 5, 5)}
    assert found.sums == {"loss": MeasureSums(100, 0.5, 0.2, 0.6, 0.1)}
    assert (found.candidate, found.baseline) == ({"auc": 0.9}, {"auc": 0.8})
    assert found.differences == {"auc": Estimate(0.1, 0.02, 19)}
    assert found.estimates == {}


def test_a_candidate_alone() -> None:
    message = _message()
    _add(message, "paired_accuracy", "").value.array_value.int64_values.extend([85, 15])
    _add(message, "paired_loss", "").value.array_value.float64_values.extend([100, 0.5, 0.2])
    [found] = from_messages([message])
    assert not found.has_baseline
    assert found.answers["accuracy"] == AnswerCounts(85, 0, 0, 15, paired=False)
    assert found.answers["accuracy"].right == 85
    assert found.sums["loss"] == MeasureSums(100, 0.5, 0.2)
    assert found.examples == 100


def test_annotated_slices_and_columns_of_one_name_are_one_slice() -> None:
    messages = [_message(evaluation_slices=b"form 3"), _message(form=b"3"), _message()]
    assert [found.name for found in from_messages(messages)] == ["all examples", "form 3"]


def test_comparisons_of_slices_are_skipped() -> None:
    message = _message()
    message.cross_slice_key.baseline_slice_key.SetInParent()
    assert from_messages([message]) == ()
