"""``tfx-feeder why``."""

import json
import shutil


def answers(told: dict) -> dict[str, tuple[bool | None, str]]:
    return {a["about"]: (a["yes"], "\n".join(a["reasons"])) for a in told["answers"]}


def test_a_model_that_was_pushed_is_explained(ask_json, reference):
    told = answers(ask_json("why", reference.first.model))
    assert "It is the first model of this trainer in the store." in told["trained"][1]
    yes, reasons = told["blessed"]
    assert yes is True
    assert "There was no baseline model to compare it with." in reasons
    assert "All thresholds were met." in reasons
    assert "accuracy on all examples: 0.9000" in reasons
    assert told["pushed"][1].startswith("Version 100, ")
    assert told["live"] == (True, f"100 is the highest version in {reference.folder}/serving.")


def test_a_model_that_was_not_blessed_is_explained(ask_json, reference):
    told = answers(ask_json("why", "latest"))
    first = reference.first.model
    assert told["blessed"][0] is False
    assert f"It was compared with model {first}." in told["blessed"][1]
    assert (
        "accuracy on all examples: 0.7000; threshold: at least 0.8; baseline: 0.9000"
        in told["blessed"][1]
    )
    refused = "Pusher pushes only blessed models: the Evaluator did not bless this one."
    assert told["pushed"] == (False, refused)
    assert told["live"] == (False, "It was not pushed.")


def test_what_changed_since_the_model_before_is_why_it_was_trained(ask_json, reference):
    reasons = answers(ask_json("why", "latest"))["trained"][1]
    assert f"Since model {reference.first.model}, this changed:" in reasons
    assert "span: 1 → 2" in reasons
    assert "code_fingerprint: code of 2026-01-01 → code of 2026-01-02" in reasons
    assert f"It was given model {reference.first.model} to start from." in reasons


def test_a_training_without_a_change_is_admitted(ask_json, own_reference):
    store, first = own_reference.store, own_reference.first
    made = store.artifact("Model")
    store.execution(
        store.run("2026-01-04"),
        "OtherTrainer",
        "COMPLETE",
        {"examples": first.transformed},
        {"model": made},
    )
    again = store.artifact("Model")
    store.execution(
        store.run("2026-01-05"),
        "OtherTrainer",
        "COMPLETE",
        {"examples": first.transformed},
        {"model": again},
    )
    folder = own_reference.folder
    assert (
        "first model of this trainer" in answers(ask_json("why", made, store=folder))["trained"][1]
    )
    reasons = answers(ask_json("why", again, store=folder))["trained"][1]
    assert f"differs from the inputs of model {made}" in reasons


def test_a_run_that_did_not_get_there_is_why_nothing_was_decided(ask, ask_json, own_reference):
    store = own_reference.store
    model, run = store.artifact("Model"), store.run("2026-01-04")
    store.execution(run, "FeederTrainer", "COMPLETE", outputs={"model": model})
    store.execution(run, "Validator", "FAILED")
    folder = own_reference.folder
    told = answers(ask_json("why", "latest", store=folder))
    assert told["blessed"] == (None, "The run did not reach this step: Validator failed.")
    assert told["pushed"] == (False, "No Pusher read the model.")
    assert "not decided: blessed" in ask("why", "latest", store=folder).stdout


def test_an_evaluator_that_failed_is_told_with_its_error(ask_json, own_reference):
    store = own_reference.store
    model, run = store.artifact("Model"), store.run("2026-01-04")
    store.execution(run, "FeederTrainer", "COMPLETE", outputs={"model": model})
    store.execution(
        run,
        "Evaluator",
        "FAILED",
        {"model": model},
        properties={"__execution_result__": json.dumps({"resultMessage": "no memory"})},
    )
    told = answers(ask_json("why", model, store=own_reference.folder))
    assert told["blessed"] == (None, "Evaluator failed in run 2026-01-04. no memory")


def test_a_version_that_another_replaced_is_explained(ask_json, own_reference):
    store, folder = own_reference.store, own_reference.folder
    newer = store.artifact(
        "PushedModel",
        pushed=1,
        pushed_version="200",
        pushed_destination=str(folder / "serving/200"),
    )
    model, run = store.artifact("Model"), store.run("2026-01-04")
    store.execution(run, "FeederTrainer", "COMPLETE", outputs={"model": model})
    store.execution(run, "Pusher", "COMPLETE", {"model": model}, {"pushed_model": newer})
    told = answers(ask_json("why", "100", store=folder))
    assert told["live"] == (False, f"Version 200 superseded it in {folder}/serving.")


def test_an_evaluation_that_is_gone_is_told(ask_json, own_reference):
    shutil.rmtree(own_reference.store.path(own_reference.first.evaluation))
    told = answers(ask_json("why", "100", store=own_reference.folder))
    assert "Its evaluation cannot be read: No metrics" in told["blessed"][1]


def test_a_model_of_unknown_origin_is_admitted(ask_json, own_reference):
    model = own_reference.store.artifact("Model")
    told = answers(ask_json("why", model, store=own_reference.folder))
    assert told["trained"][1] == "The store does not record which execution trained it."


def test_people_get_headwords_and_reasons(ask):
    told = ask("why", "latest").stdout
    for word in ("trained", "not blessed", "not pushed", "not live"):
        assert any(line.startswith(word) for line in told.splitlines()), word
