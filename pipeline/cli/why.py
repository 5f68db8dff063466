"""The command ``tfx-feeder why``."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import click
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from tfx_feeder.common.durations import format_time
from tfx_feeder.common.errors import DataError
from tfx_feeder.pipeline.cli.console import print_json, show
from tfx_feeder.pipeline.cli.diff import Row, compare
from tfx_feeder.pipeline.cli.options import store_options
from tfx_feeder.pipeline.metadata.describe import error_message, read_model_evaluation
from tfx_feeder.pipeline.metadata.facts import BASE_MODEL, facts_of_model
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.lookup import find_model
from tfx_feeder.pipeline.metadata.models import (
    BLESSING,
    MODEL,
    PUSHED,
    ModelVersion,
    is_gone,
    place_of,
    served_ids,
    to_model_versions,
)
from tfx_feeder.pipeline.metadata.slice_results import drift_of, gate_report_of
from tfx_feeder.pipeline.metadata.types import CANCELED, FAILED, RUNNING, Artifact, Execution
from tfx_feeder.pipeline.run_plan import reason_of, starts_warm
from tfx_feeder.schemas.drift_report import VALUES
from tfx_feeder.schemas.evaluation import ALL_EXAMPLES
from tfx_feeder.schemas.gate_report import NOT_EVALUATED, SKIPPED, UNDECIDED, GateReport

_CAUSES = ("data", "schema", "code", "schedule", "strategy", "properties")
"""Sections of a comparison in which a change makes TFX train again."""
_STOPPED = {FAILED: "failed", CANCELED: "was canceled", RUNNING: "is running"}
_MAX_LENGTH = 60
"""Number of characters shown of a value."""
_CONTEXT = 20
"""Number of equal characters shown before the first different one."""
_MAX_LINES = 5
"""Number of undecided lines of a gate shown."""
_MAX_EARLIER = 10
"""Number of earlier models searched for one by the same trainer."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One step in the life of a model, with the reasons for its result.

    Args:
        about: ``trained``, ``blessed``, ``pushed`` or ``live``.
        yes: Result of the step; ``None`` if nothing was decided.
        reasons: Reasons, as sentences.
    """

    about: str
    yes: bool | None
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Explanation of the status of a model.

    Args:
        model: The model.
        answers: Findings, from training to serving.
    """

    model: ModelVersion
    answers: tuple[Finding, ...]


def explain(lineage: Lineage, model: ModelVersion) -> Explanation:
    """Explains why a model was or was not trained, blessed and pushed, and whether it is live.

    Args:
        lineage: Lineage of the store.
        model: Model to explain.
    """
    users = [
        execution
        for execution in lineage.consumers([model.model.id]).executions.values()
        if model.model in execution.inputs.get("model", ())
    ]
    return Explanation(
        model=model,
        answers=(
            Finding("trained", True, tuple(_why_trained(lineage, model))),
            Finding("blessed", model.blessed, tuple(_why_blessed(lineage, model, users))),
            Finding("pushed", bool(model.pushes), tuple(_why_pushed(lineage, model, users))),
            Finding("live", model.live, tuple(_why_live(lineage, model))),
        ),
    )


def explanation_lines(explanation: Explanation) -> Iterator[RenderableType]:
    """Yields an explanation as a table and lines of markup."""
    model = explanation.model
    spans = f", span {', '.join(map(str, model.spans))}" if model.spans else ""
    yield f"[bold]Model {model.model.id}[/] of run {escape(model.run_id)}{spans}\n"
    grid = Table.grid(padding=(0, 2))
    for answer in explanation.answers:
        grid.add_row(_status_text(answer), escape("\n".join(answer.reasons)))
    yield grid
    yield f"\nInputs: tfx-feeder lineage {model.model.id}"


@click.command()
@click.argument("model", metavar="MODEL")
@store_options
def why(lineage: Lineage, as_json: bool, model: str) -> None:
    """Explain why a model was or was not trained, blessed and pushed, and whether it is live.

    MODEL is a model id, a pushed version, the id of the run that trained it, latest, blessed or
    live.
    """
    explanation = explain(lineage, find_model(lineage, model))
    if as_json:
        print_json(explanation)
    else:
        show(*explanation_lines(explanation))


def _why_trained(lineage: Lineage, model: ModelVersion) -> Iterator[str]:
    before = [artifact for artifact in lineage.artifacts(MODEL) if artifact.id < model.model.id]
    recent = before[-_MAX_EARLIER:]
    origins = lineage.upstream([a.id for a in (*recent, model.model)], stop_at=(MODEL,))
    trainer = origins.producer(model.model.id)
    if trainer is None:
        yield "The store does not record which execution trained it."
        return
    when = format_time(model.created_at)
    yield f"{trainer.node} of pipeline {trainer.pipeline} trained it on {when}."
    if reason := reason_of(trainer):
        yield f"Reason for the retraining: {reason}."
    makers = ((artifact, origins.producer(artifact.id)) for artifact in reversed(recent))
    earlier = next((artifact for artifact, maker in makers if _same_node(maker, trainer)), None)
    if earlier is None:
        yield "It is the first model of this trainer in the store."
    else:
        changes = list(_changes(lineage, model, earlier))
        if changes:
            yield f"Since model {earlier.id}, this changed:"
            yield from changes
        else:
            maker = origins.producer(earlier.id)
            assert maker is not None
            yield _unchanged(earlier, maker, trainer)
    for base in trainer.inputs.get("base_model", ()):
        purpose = "start from" if starts_warm(trainer) else "match"
        yield f"It was given model {base.id} to {purpose}."


def _changes(lineage: Lineage, model: ModelVersion, earlier: Artifact) -> Iterator[str]:
    """Yields the differences between the inputs of a model and those of an earlier one."""
    [before] = to_model_versions(lineage, [earlier])
    compared = compare(facts_of_model(lineage, before), facts_of_model(lineage, model))
    origins = lineage.upstream([earlier.id, model.model.id], stop_at=(MODEL,)).executions.values()
    nodes = tuple({f"{execution.node}." for execution in origins})
    rows = [row for row in compared.rows if _is_about(row, nodes)]
    if any(row.name.startswith("span") for row in rows):
        # A new span also changes sizes and checksums of input files, which say less.
        rows = [row for row in rows if not row.name.startswith("input ")]
    for row in rows:
        first, second = _excerpts(row.first, row.second)
        yield f"  {_name(row)}: {first} → {second}"


def _unchanged(earlier: Artifact, maker: Execution, trainer: Execution) -> str:
    """Returns why a model was trained although nothing that it is made of has changed.

    Args:
        earlier: Earlier model.
        maker: Execution that trained it.
        trainer: Execution that trained the later model.
    """
    anew = [
        f"{key} ({_ids(maker.inputs.get(key, ()))} → {_ids(artifacts)})"
        for key, artifacts in trainer.inputs.items()
        if artifacts != maker.inputs.get(key, ())
    ]
    if anew:
        return (
            f"It has the settings and data of model {earlier.id}, but these inputs were made "
            f"anew: {', '.join(anew)}."
        )
    return (
        f"None of its inputs differs from the inputs of model {earlier.id}: "
        "the cache was off, or no longer held the earlier result."
    )


def _ids(artifacts: Iterable[Artifact]) -> str:
    return ", ".join(f"{artifact.type_name} {artifact.id}" for artifact in artifacts) or "none"


def _why_blessed(
    lineage: Lineage, model: ModelVersion, users: Iterable[Execution]
) -> Iterator[str]:
    if model.evaluation is None:
        stopped = [*_stopped(users, "Evaluator"), *_stopped(users, "EvalGate")]
        yield from stopped or _not_reached(lineage, model, "No Evaluator read the model.")
        return
    try:
        result, report = read_model_evaluation(model), gate_report_of(model)
    except DataError as error:
        yield f"Its evaluation cannot be read: {error}"
        return
    if report and report.baseline == NOT_EVALUATED:
        yield f"It was not compared with model {model.baseline_id}, which could not be evaluated."
    elif model.baseline_id:
        yield f"It was compared with model {model.baseline_id}."
    else:
        yield "There was no baseline model to compare it with."
    if report:
        yield from _lines_of(report)
        yield from _drift_lines(lineage, model)
        return
    if not result.gated:
        yield "The evaluation has no thresholds, so nothing was decided."
    elif result.blessed:
        yield "All thresholds were met."
    yield from map(str, result.causes)
    missed = {(cause.metric, cause.slice) for cause in result.causes}
    for row in result.rows:
        if row.slice != ALL_EXAMPLES or (row.metric, row.slice) in missed:
            continue
        baseline = (
            "" if row.baseline is None else f"; model {model.baseline_id}: {row.baseline:.4f}"
        )
        yield f"{row.metric} on {row.slice}: {row.candidate:.4f}{baseline}"


def _lines_of(report: GateReport) -> Iterator[str]:
    """Yields the lines of the gate that decided, or else the reason and the closest lines."""
    if report.deciding:
        yield from (line.reason for line in report.deciding)
        return
    yield report.reason
    weighed = [line for line in report.lines if line.verdict != SKIPPED]
    all_examples = [line for line in weighed if line.slice == ALL_EXAMPLES]
    undecided = [line for line in weighed if line.verdict == UNDECIDED]
    shown = dict.fromkeys((*all_examples, *undecided[:_MAX_LINES]))
    yield from (line.reason for line in shown)
    if len(undecided) > _MAX_LINES:
        yield f"{len(undecided) - _MAX_LINES} more lines are undecided."


def _drift_lines(lineage: Lineage, model: ModelVersion) -> Iterator[str]:
    """Yields the features whose distribution changed, the largest distance first."""
    for report in drift_of(lineage, model):
        for found in report.drifted[:_MAX_LINES]:
            name = found.feature if found.aspect == VALUES else f"presence of {found.feature}"
            against = f"since the data of model {model.baseline_id}" if model.baseline_id else ""
            yield f"Its data drifted in {name} {against}: {found.reason}".replace(" :", ":")


def _why_pushed(lineage: Lineage, model: ModelVersion, users: Iterable[Execution]) -> Iterator[str]:
    for push in model.pushes:
        made = f"{format_time(push.at)}, by run {push.run_id}"
        yield f"Version {push.version}, {made}: {push.destination}"
    if model.pushes:
        return
    users = list(users)
    stopped = list(_stopped(users, "Pusher"))
    pushers = [execution for execution in users if _is_a(execution, "Pusher")]
    yield from stopped
    if not pushers:
        yield "No Pusher read the model."
    elif not stopped:
        missing = _missing_blessing(lineage, pushers[-1])
        yield f"{pushers[-1].node} pushes only blessed models: {missing}."


def _missing_blessing(lineage: Lineage, pusher: Execution) -> str:
    """Returns which missing blessing prevented the push."""
    for artifact in pusher.inputs.get("infra_blessing", ()):
        if artifact.properties.get("blessing_status") != "INFRA_BLESSED":
            return "the InfraValidator did not bless this one"
    for artifact in pusher.inputs.get("model_blessing", ()):
        if not artifact.properties.get("blessed"):
            maker = lineage.upstream([artifact.id], stop_at=(BLESSING,)).producer(artifact.id)
            return f"{_called(maker)} did not bless this one"
    return "the store does not record which blessing was missing"


def _called(maker: Execution | None) -> str:
    return "EvalGate" if maker and _is_a(maker, "EvalGate") else "the Evaluator"


def _why_live(lineage: Lineage, model: ModelVersion) -> Iterator[str]:
    if model.withdrawn:
        yield f"It was withdrawn: {model.withdrawn}"
    if model.live:
        yield f"{model.pushes[-1].version} is the highest version in {model.pushes[-1].place}."
        return
    if not model.pushes:
        yield "It was not pushed."
        return
    place = model.pushes[-1].place
    if is_gone(model.pushes[-1].artifact):
        yield f"Version {model.pushes[-1].version} is not in {place} any more."
        return
    served = served_ids(lineage)
    for artifact in lineage.artifacts(PUSHED):
        destination = str(artifact.properties.get("pushed_destination", ""))
        if artifact.id in served and place_of(destination) == place:
            yield f"Version {destination.rpartition('/')[2]} superseded it in {place}."


def _stopped(users: Iterable[Execution], component: str) -> Iterator[str]:
    for execution in users:
        if _is_a(execution, component) and execution.state in _STOPPED:
            text = f"{execution.node} {_STOPPED[execution.state]} in run {execution.run_id}."
            yield f"{text} {error_message(execution)}".rstrip()


def _not_reached(lineage: Lineage, model: ModelVersion, otherwise: str) -> Iterator[str]:
    """Yields what stopped the run of a model, or ``otherwise`` if nothing did."""
    executions = lineage.executions(model.run_id) if model.run_id else []
    stopped = [e for e in executions if e.state in _STOPPED]
    for execution in stopped:
        yield f"The run did not reach this step: {execution.node} {_STOPPED[execution.state]}."
    if not stopped:
        yield otherwise


def _is_a(execution: Execution, component: str) -> bool:
    return execution.type_name.rpartition(".")[2] == component


def _same_node(maker: Execution | None, other: Execution) -> bool:
    return maker is not None and (maker.pipeline, maker.node) == (other.pipeline, other.node)


def _is_about(row: Row, nodes: tuple[str, ...]) -> bool:
    """Returns True if a change affects the training of a model, not its evaluation or push."""
    if (row.section, row.name) == BASE_MODEL:
        return True
    if row.section not in _CAUSES:
        return False
    return row.section in ("data", "schema", "schedule") or row.name.startswith(nodes)


def _name(row: Row) -> str:
    if row.section == "schedule":
        return f"schedule of {row.name}"
    return f"schema {row.name}" if row.section == "schema" else row.name


def _excerpts(first: object, second: object) -> tuple[str, str]:
    """Returns two values as texts, shortened to the part in which they differ."""
    one, other = ("none" if value is None else str(value) for value in (first, second))
    begin = 0
    if max(len(one), len(other)) > _MAX_LENGTH:
        equal = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
        begin = max(0, sum(1 for _ in equal) - _CONTEXT)
    return _excerpt(one, begin), _excerpt(other, begin)


def _excerpt(text: str, begin: int) -> str:
    end = begin + _MAX_LENGTH
    before, after = "..." if begin else "", "..." if len(text) > end else ""
    return f"{before}{text[begin:end]}{after}"


def _status_text(answer: Finding) -> str:
    if answer.yes is None:
        return f"[yellow]not decided: {answer.about}[/]"
    if answer.yes:
        return f"[green]{answer.about}[/]"
    return f"[red]not {answer.about}[/]"
