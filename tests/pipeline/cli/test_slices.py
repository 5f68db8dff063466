"""``tfx-feeder slices`` and the lines of the gate in ``tfx-feeder why``."""

import shutil

import pytest

from tests.pipeline.gated_run import write_gated_run, write_store

LOST = "accuracy on form 3 of 200 examples: 0.5750 against 0.7500 of the baseline (-0.1750"


@pytest.fixture(scope="module")
def gated(tmp_path_factory):
    """A blessed model, and a candidate that lost on form 3."""
    return write_store(tmp_path_factory.mktemp("gated"))


@pytest.fixture
def own_gated(tmp_path):
    """The same, for tests that change something."""
    return write_store(tmp_path)


def test_the_slice_that_decided_comes_first_and_then_all_examples(ask, gated):
    lines = [
        " ".join(line.split()) for line in ask("slices", store=gated.folder).stdout.splitlines()
    ]
    assert lines[0] == f"Slices of model {gated.models[1]} against model {gated.models[0]}"
    rows = [line for line in lines if line.startswith(("all examples", "form", "label"))]
    assert rows[0].startswith("form 3 declared 200 0.5750 0.7500 -0.1750 (")
    assert rows[0].endswith("no worse refused")
    assert rows[1].startswith("all examples 1,000 0.9200 0.9000 +0.0200 (")
    assert rows[1].endswith("at least 0.8; at most 0.1 worse than the baseline passed")
    assert rows[2].startswith("form 1 declared 28")
    assert rows[3].startswith("label 5, form 3 proposed 7 0.7143 0.7143 +0.0000 (")
    assert rows[3].endswith("not judged")
    assert (
        "label 5, form 3: proposed, error rate 0.4 against 0.1 elsewhere, difference +0.3 "
        "(95 % interval +0.1 to +0.5), p = 0.001 after Bonferroni over 80 slices" in lines
    )
    assert "Left out: color: the examples lack it" in lines
    assert lines[-1].startswith(f"Not blessed: {LOST}")


def test_a_first_model_has_values_without_a_baseline(ask_json, gated):
    found = ask_json("slices", gated.models[0], store=gated.folder)
    assert found["blessed"] is True
    assert found["baseline_id"] is None
    overall = found["slices"][0]
    assert overall["slice"] == "all examples"
    assert overall["baseline"] is None
    assert overall["candidate_low"] < overall["candidate"] < overall["candidate_high"]


def test_a_model_that_the_evaluator_decided_on_has_slices_as_well(ask_json, reference):
    found = ask_json("slices", store=reference.folder)
    [overall] = found["slices"]
    assert (overall["slice"], overall["verdict"]) == ("all examples", "refused")
    assert overall["difference"] == pytest.approx(-0.2)
    assert found["reason"] == ""


def test_a_model_without_evaluation_is_an_error_of_one_line(ask, own_gated):
    model = own_gated.store.artifact("Model")
    done = ask("slices", model, store=own_gated.folder, status=1)
    assert f"Model {model} has no evaluation." in done.output


def test_without_the_files_of_slice_gen_only_origins_are_unknown(ask_json, own_gated):
    shutil.rmtree(own_gated.store.path(own_gated.second.slices))
    found = ask_json("slices", store=own_gated.folder)
    assert [row["origin"] for row in found["slices"]] == [""] * 4
    assert found["slices"][0]["slice"] == "form 3"


def _reasons(output, about):
    [answer] = [answer for answer in output["answers"] if answer["about"] == about]
    return answer["yes"], answer["reasons"]


def test_why_prints_the_line_that_decided(ask_json, gated):
    output = ask_json("why", "latest", store=gated.folder)
    yes, reasons = _reasons(output, "blessed")
    assert yes is False
    assert reasons[0] == f"It was compared with model {gated.models[0]}."
    assert reasons[1].startswith(LOST)
    assert (
        reasons[2]
        == f"Its data drifted in form since the data of model {gated.models[0]}: L-infinity 0.4"
    )
    assert len(reasons) == 3
    missing = "Pusher pushes only blessed models: EvalGate did not bless this one."
    assert _reasons(output, "pushed") == (False, [missing])


def test_why_a_model_was_blessed(ask_json, gated):
    yes, reasons = _reasons(ask_json("why", "blessed", store=gated.folder), "blessed")
    assert yes is True
    assert reasons[0] == "There was no baseline model to compare it with."
    assert reasons[1].startswith("1 of 1 thresholds are met")
    assert reasons[2].startswith("accuracy on all 1,000 examples: 0.9000")


def test_a_rerun_that_trained_nothing_new_leaves_the_decision_as_it_was(ask_json, own_gated):
    first = own_gated.models[0]
    write_gated_run(own_gated.store, "3", first, first, same=True)
    [row] = [
        m
        for m in ask_json("models", store=own_gated.folder)
        if m["version"]["model"]["id"] == first
    ]
    assert row["version"]["blessed"] is True
    assert _reasons(ask_json("why", first, store=own_gated.folder), "blessed")[0] is True
