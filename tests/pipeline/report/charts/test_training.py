"""The rows of charts hold the figures of the history."""

import dataclasses
import json

from tfx_feeder.pipeline.report.charts.compare import compared_charts
from tfx_feeder.pipeline.report.charts.rows import (
    MAX_POINTS,
    epoch_rows,
    metric_names,
    phase_rows,
    setting_rows,
    subsample,
)
from tfx_feeder.pipeline.report.charts.training import speed_charts, training_charts


def test_rows_hold_the_figures_of_every_epoch(history):
    names = metric_names([history])
    assert names == ["loss", "accuracy"]
    for row, epoch in zip(epoch_rows(history, names), history.epochs, strict=True):
        assert row["x"] == epoch.examples_seen
        assert row["rate"] == epoch.learning_rate
        assert row["batch"] == epoch.global_batch_size
        assert row["speed"] == epoch.examples_per_s
        assert row["wait"] == epoch.input_wait_pct
        assert row["m1"] == epoch.metrics["accuracy"]
        assert row["v0"] == epoch.metrics["val_loss"]


def test_nan_is_a_gap(history):
    rows = epoch_rows(history, metric_names([history]))
    assert [row["m0"] for row in rows] == [1.0, None, 1 / 3]
    json.dumps(rows, allow_nan=False)


def test_settings_hold_from_where_they_began(history):
    rows = setting_rows(history)
    assert [(row["x"], row["batch"]) for row in rows] == [(0, 32), (200, 64), (300, 64)]


def test_phases_are_stretches_of_the_axis(history):
    rows = phase_rows(history)
    assert [(row["begin"], row["end"]) for row in rows] == [(0, 200), (200, 300)]


def test_long_trainings_are_thinned_and_keep_their_end(history):
    epochs = [dataclasses.replace(history.epochs[0], epoch=i) for i in range(5 * MAX_POINTS + 3)]
    some = subsample(epochs)
    assert len(some) <= MAX_POINTS + 1
    assert some[-1] is epochs[-1]
    assert subsample([]) == []


def test_charts_have_names_of_their_own(history):
    charts = [*training_charts(history), *speed_charts(history)]
    assert len({chart.id for chart in charts}) == len(charts)
    assert [chart.title for chart in charts][:4] == [
        "loss",
        "accuracy",
        "Learning rate",
        "Batch size and gradient noise scale",
    ]
    assert compared_charts({"A": history, "B": history}, ["A", "B"])


def test_a_single_epoch_is_drawn(history):
    short = dataclasses.replace(history, epochs=history.epochs[:1])
    long = dataclasses.replace(history, epochs=history.epochs * 50)
    for trained, dots in ((short, True), (long, False)):
        lines = training_charts(trained)[0].spec["layer"]
        marks = [layer["mark"] for layer in lines if layer["mark"]["type"] == "line"]
        assert marks
        assert all(("point" in mark) == dots for mark in marks)


def test_distant_throughput_bounds_are_not_drawn(history):
    def drawn(ceiling):
        phases = tuple(dataclasses.replace(p, input_ceiling=ceiling) for p in history.phases)
        spec = speed_charts(dataclasses.replace(history, phases=phases))[0].spec
        return "input" in {layer["encoding"]["y"].get("field") for layer in spec["layer"][1:]}

    assert drawn(100.0)
    assert not drawn(100_000.0)
    assert not drawn(None)
