"""Run with SliceGen and EvalGate in a store, with the files that they write."""

from pathlib import Path
from types import SimpleNamespace

from tests.mlmd_store import StoreWithFiles, write_evaluation
from tfx_feeder.components.eval_gate.gate import Floor, Gate, Margin
from tfx_feeder.components.eval_gate.verdict import decide
from tfx_feeder.schemas import drift_report, gate_report, slices
from tfx_feeder.schemas.drift_report import DriftReport, FeatureDrift
from tfx_feeder.schemas.model_comparison import AnswerCounts, ComparedSlice
from tfx_feeder.schemas.slices import Evidence, Remark, Slice, Slices

GATE = Gate(floors=(Floor(0.8),), margins=(Margin(0.1), Margin(0, "form *")), min_examples=10)
COUNTS = {
    "all examples": (860, 60, 40, 40),
    "form 1": (18, 1, 3, 6),
    "form 3": (110, 5, 40, 45),
    "label 5, form 3": (4, 1, 1, 1),
}
"""Examples that both models, only the candidate, only the baseline, or none answers right."""
FOUND = Slices(
    (
        Slice("form 1", (("form", "1"),), "declared", 28),
        Slice("form 3", (("form", "3"),), "declared", 200),
        Slice(
            "label 5, form 3",
            (("form", "3"), ("label", "5")),
            "proposed",
            7,
            Evidence("error rate", 0.3, 0.1, 0.5, 0.001, "Bonferroni over 80 slices", 0.4, 0.1, 5),
        ),
    ),
    {"eval": 1_000},
    remarks=(Remark("color", "the examples lack it"),),
)
DRIFTED = FeatureDrift("form", "values", "category", 1_000, 900, "drift", "L-infinity 0.4", "chi²")


def write_gated_run(
    store: StoreWithFiles, name: str, model: int, baseline: int | None, *, same: bool = False
) -> SimpleNamespace:
    """Writes a run from SliceGen to EvalGate.

    Args:
        store: Store to write to.
        name: Name of the run.
        model: Id of the candidate.
        baseline: Id of the blessed model, if any.
        same: True if the candidate is the blessed model itself.
    """
    run = store.run(name)
    raw, annotated = store.artifact("Examples", span=1), store.artifact("Examples")
    found, drift = store.artifact("tfx_feeder.Slices"), store.artifact("tfx_feeder.DriftReport")
    slices.write(FOUND, store.path(found))
    drift_report.write(
        [DriftReport("drift", "eval", "train", 1_000, 900, 0.05, (DRIFTED,))], store.path(drift)
    )
    evaluation, empty = store.artifact("ModelEvaluation"), store.artifact("ModelBlessing")
    compared = [
        _compared(name, cells, paired=baseline is not None) for name, cells in COUNTS.items()
    ]
    write_evaluation(
        store.path(evaluation),
        {
            "" if found.name == "all examples" else f"evaluation_slices {found.name}": {
                "": found.candidate | {"example_count": float(found.examples or 0)},
                **({"baseline": found.baseline} if baseline else {}),
            }
            for found in compared
        },
    )
    report = decide(
        compared,
        GATE,
        has_baseline=baseline is not None,
        same_model=same,
        origins={each.name: each.origin for each in FOUND.slices},
    )
    written = store.artifact("tfx_feeder.GateReport", baseline=report.baseline)
    gate_report.write(report, store.path(written))
    against = {"baseline_model_id": baseline} if baseline else {}
    blessing = store.artifact(
        "ModelBlessing", blessed=int(report.blessed), current_model_id=model, **against
    )
    of_models = {"model": model} | ({"baseline_model": baseline} if baseline else {})
    if model == baseline:
        of_models = {"model+baseline_model": model}
    for node, inputs, outputs in (
        ("ImageExampleGen", {}, {"examples": raw}),
        (
            "SliceGen",
            {"examples": raw} | ({"model": baseline} if baseline else {}),
            {"annotated_examples": annotated, "slices": found, "drift_report": drift},
        ),
        (
            "Evaluator",
            {"examples": annotated} | of_models,
            {"evaluation": evaluation, "blessing": empty},
        ),
        (
            "EvalGate",
            {"evaluation": evaluation, "slices": found} | of_models,
            {"blessing": blessing, "gate_report": written},
        ),
        ("Pusher", {"model": model, "model_blessing": blessing}, {}),
    ):
        store.execution(run, node, "COMPLETE", inputs, outputs)
    return SimpleNamespace(
        annotated=annotated,
        slices=found,
        evaluation=evaluation,
        blessing=blessing,
        gate_report=written,
        report=report,
    )


def write_store(folder: Path) -> SimpleNamespace:
    """Writes a store with a blessed model, and a candidate that lost on form 3."""
    store = StoreWithFiles(folder)
    models = []
    for name in ("1", "2"):
        models.append(store.artifact("Model"))
        store.execution(store.run(name), "FeederTrainer", outputs={"model": models[-1]})
    first = write_gated_run(store, "1", models[0], None)
    second = write_gated_run(store, "2", models[1], models[0])
    return SimpleNamespace(store=store, folder=folder, models=models, first=first, second=second)


def _compared(name: str, cells: tuple[int, int, int, int], *, paired: bool) -> ComparedSlice:
    both, candidate, baseline, neither = cells
    examples = sum(cells)
    counts = (
        AnswerCounts(*cells)
        if paired
        else AnswerCounts(both + baseline, 0, 0, candidate + neither, paired=False)
    )
    right = both + candidate if paired else both + baseline
    return ComparedSlice(
        name,
        () if name == "all examples" else ("evaluation_slices",),
        examples,
        {"accuracy": right / examples},
        {"accuracy": (both + baseline) / examples} if paired else {},
        answers={"accuracy": counts},
    )
