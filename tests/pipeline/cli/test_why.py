"""``tfx-feeder why``."""

import json
import shutil


def answers(output: dict) -> dict[str, tuple[bool | None, str]]:
    return {a["about"]: (a["yes"], "\n".join(a["reasons"])) for a in output["answers"]}


def test_a_pushed_model_is_explained(ask_json, reference):
    output = answers(ask_json("why", reference.first.model))
    assert "It is the first model of this trainer in the store." in output["trained"][1]
    yes, reasons = output["blessed"]
    assert yes is True
    assert "There was no baseline model to compare it with." in reasons
    assert "All thresholds were met." in reasons
    assert "accuracy on all examples: 0.9000" in reasons
    assert output["pushed"][1].startswith("Version 100, ")
    assert output["live"] == (True, f"100 is the highest version in {reference.folder}/serving.")


def test_a_model_that_was_not_blessed_is_explained(ask_json, reference):
    output = answers(ask_json("why", "latest"))
    first = reference.first.model
    assert output["blessed"][0] is False
    assert f"It was compared with model {first}." in output["blessed"][1]
    assert (
        "accuracy on all examples: 0.7000; threshold: at least 0.8; baseline: 0.9000"
        in output["blessed"][1]
    )
    refused = "Pusher pushes only blessed models: the Evaluator did not bless this one."
    assert output["pushed"] == (False, refused)
    assert output["live"] == (False, "It was not pushed.")


def test_changes_since_the_previous_model_explain_the_training(ask_json, reference):
    reasons = answers(ask_json("why", "latest"))["trained"][1]
    assert f"Since model {reference.first.model}, this changed:" in reasons
    assert "span: 1 → 2" in reasons
    assert "code_fingerprint: code of 2026-01-01 → code of 2026-01-02" in reasons
    assert f"It was given model {reference.first.model} to start from." in reasons


def test_a_training_without_changes_is_reported(ask_json, own_reference):
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


def test_a_failed_run_explains_missing_decisions(ask, ask_json, own_reference):
    store = own_reference.store
    model, run = store.artifact("Model"), store.run("2026-01-04")
    store.execution(run, "FeederTrainer", "COMPLETE", outputs={"model": model})
    store.execution(run, "Validator", "FAILED")
    folder = own_reference.folder
    output = answers(ask_json("why", "latest", store=folder))
    assert output["blessed"] == (None, "The run did not reach this step: Validator failed.")
    assert output["pushed"] == (False, "No Pusher read the model.")
    assert "not decided: blessed" in ask("why", "latest", store=folder).stdout


def test_a_failed_evaluator_is_shown_with_its_error(ask_json, own_reference):
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
    output = answers(ask_json("why", model, store=own_reference.folder))
    assert output["blessed"] == (None, "Evaluator failed in run 2026-01-04. no memory")


def test_a_superseded_version_is_explained(ask_json, own_reference):
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
    output = answers(ask_json("why", "100", store=folder))
    assert output["live"] == (False, f"Version 200 superseded it in {folder}/serving.")


def test_a_missing_evaluation_is_reported(ask_json, own_reference):
    shutil.rmtree(own_reference.store.path(own_reference.first.evaluation))
    output = answers(ask_json("why", "100", store=own_reference.folder))
    assert "Its evaluation cannot be read: No metrics" in output["blessed"][1]


def test_a_model_of_unknown_origin_is_reported(ask_json, own_reference):
    model = own_reference.store.artifact("Model")
    output = answers(ask_json("why", model, store=own_reference.folder))
    assert output["trained"][1] == "The store does not record which execution trained it."


def test_text_output_shows_status_and_reasons(ask):
    output = ask("why", "latest").stdout
    for word in ("trained", "not blessed", "not pushed", "not live"):
        assert any(line.startswith(word) for line in output.splitlines()), word


def test_schemas_of_transform_are_no_cause(ask_json, own_reference):
    store, first, folder = own_reference.store, own_reference.first, own_reference.folder
    models = []
    for day, derived in (("2026-01-04", ("a", "b")), ("2026-01-05", ("b", "c"))):
        run = store.run(day)
        state = "CACHED" if models else "COMPLETE"
        store.execution(run, "SchemaGen", state, outputs={"schema": first.schema})
        outputs = {"transformed_examples": store.artifact("Examples")}
        for key, name in zip(
            ("pre_transform_schema", "post_transform_schema"), derived, strict=True
        ):
            outputs[key] = store.artifact("Schema")
            text = f'feature {{ name: "{name}" type: INT }}'
            (store.path(outputs[key]) / "schema.pbtxt").write_text(text)
        long = "/home/of/somebody/who/likes/folders/in/folders/utils@"
        store.execution(
            run,
            "Transform",
            "COMPLETE",
            {"examples": first.raw, "schema": first.schema},
            outputs,
            {"module_path": f"{long}{day}"},
        )
        models.append(store.artifact("Model"))
        examples = {"examples": outputs["transformed_examples"]}
        store.execution(run, "TaxiTrainer", "COMPLETE", examples, {"model": models[-1]})

    reasons = answers(ask_json("why", models[-1], store=folder))["trained"][1]

    assert reasons.splitlines()[1:] == [
        f"Since model {models[0]}, this changed:",
        "  Transform.module_path: ...ders/utils@2026-01-04 → ...ders/utils@2026-01-05",
    ]


def test_a_changed_schema_and_a_base_model_are_causes(ask_json, own_reference):
    store, first, folder = own_reference.store, own_reference.first, own_reference.folder
    changed, models = store.artifact("Schema"), []
    (store.path(changed) / "schema.pbtxt").write_text('feature { name: "a" type: INT }')
    for day, schema, base in (
        ("2026-01-04", first.schema, {}),
        ("2026-01-05", changed, {}),
        ("2026-01-06", changed, {"base_model": first.model}),
    ):
        examples = store.artifact("Examples")
        inputs = {"examples": first.raw, "schema": schema}
        outputs = {"transformed_examples": examples}
        store.execution(store.run(day), "SchemaGen", outputs={"schema": schema})
        store.execution(store.run(day), "Transform", "COMPLETE", inputs, outputs)
        models.append(store.artifact("Model"))
        inputs = {"examples": examples} | base
        outputs = {"model": models[-1]}
        store.execution(store.run(day), "TaxiTrainer", "COMPLETE", inputs, outputs)

    _, second, third = (answers(ask_json("why", m, store=folder))["trained"][1] for m in models)

    assert "  schema hash: " in second
    assert "  schema feature a: none → type: INT" in second
    assert f"  base model: none → model {first.model}" in third
    assert f"It was given model {first.model} to start from." in third


def test_inputs_made_anew_are_named(ask_json, own_reference):
    store, first = own_reference.store, own_reference.first
    models = []
    for day in ("2026-01-04", "2026-01-05"):
        models.append(store.artifact("Model"))
        tuned = store.artifact("HyperParameters")
        store.execution(store.run(day), "Tuner", outputs={"best_hyperparameters": tuned})
        inputs = {"examples": first.transformed, "hyperparameters": tuned}
        store.execution(store.run(day), "Tuned", "COMPLETE", inputs, {"model": models[-1]})

    reasons = answers(ask_json("why", models[-1], store=own_reference.folder))["trained"][1]

    assert "made anew: hyperparameters (HyperParameters " in reasons
    assert f" → HyperParameters {tuned})." in reasons
