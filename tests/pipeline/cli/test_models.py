"""``tfx-feeder models``."""

import shutil

import pytest


def test_models_are_told_with_span_metric_and_fate(ask, reference):
    told = ask("models").stdout
    lines = [line for line in told.splitlines() if "accuracy 0" in line]
    assert [line.split()[0] for line in lines] == [
        str(reference.second.model),
        str(reference.first.model),
    ]
    assert "accuracy 0.7000" in lines[0]
    assert "not blessed" in lines[0]
    assert "accuracy 0.9000" in lines[1]
    assert "100 live" in lines[1]


def test_why_a_model_was_not_blessed_is_told(ask, reference):
    told = ask("models").stdout
    assert (
        f"Model {reference.second.model}: not blessed: accuracy on all examples: 0.7000; "
        "threshold: at least 0.8; baseline: 0.9000" in told
    )


def test_where_a_version_is_live_is_told(ask, reference):
    where = reference.folder / "serving"
    assert f"Live in {where}: 100, model {reference.first.model}" in ask("models").stdout


def test_scripts_get_the_same(ask_json):
    second, first = ask_json("models")
    assert first["metric"]["candidate"] == pytest.approx(0.9)
    assert first["version"]["spans"] == [1]
    assert first["version"]["live"] is True
    assert second["version"]["blessed"] is False


def test_files_that_are_gone_are_told_and_hinder_nothing(ask, own_reference):
    store, first = own_reference.store, own_reference.first
    shutil.rmtree(store.path(first.model))
    shutil.rmtree(store.path(first.evaluation))
    told = ask("models", store=own_reference.folder).stdout
    assert f"{first.model} files gone" in told
    assert f"Model {first.model}: No metrics in TFRecord files are in " in told


def test_a_withdrawn_model_is_marked(ask, own_reference):
    store = own_reference.store
    store.set_property(own_reference.first.model, "withdrawn", "it was [wrong]")
    assert "100 withdrawn" in ask("models", store=own_reference.folder).stdout


def test_a_store_without_models_says_so(ask, tmp_path, make_store_with_files):
    make_store_with_files(tmp_path)
    assert ask("models", store=tmp_path).stdout == "The store has no model yet.\n"
