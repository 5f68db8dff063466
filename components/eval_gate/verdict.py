"""Verdict on a candidate: every rule of the gate on every slice, corrected as one family."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.common.multiple_testing import benjamini_hochberg, holm
from tfx_feeder.components.eval_gate.comparisons import compare_slices
from tfx_feeder.components.eval_gate.evidence import (
    BARE,
    Evidence,
    examples_needed,
    judge_floor,
    judge_margin,
)
from tfx_feeder.components.eval_gate.gate import (
    ANY,
    FLOORS,
    HOLM,
    LOWER,
    REFUSE,
    Floor,
    Gate,
    Margin,
    check_patterns,
    matches,
    template,
)
from tfx_feeder.schemas.evaluation import ALL_EXAMPLES
from tfx_feeder.schemas.gate_report import (
    COMPARED,
    NO_BASELINE,
    NOT_EVALUATED,
    PASSED,
    REFUSED,
    SAME_MODEL,
    SKIPPED,
    UNDECIDED,
    VERDICTS,
    GateLine,
    GateReport,
)
from tfx_feeder.schemas.model_comparison import ComparedSlice
from tfx_feeder.schemas.slices import SLICES_FEATURE

_CORRECTION_NAMES = {"holm": "Holm", "benjamini_hochberg": "Benjamini-Hochberg"}


@dataclass(frozen=True, slots=True)
class _Question:
    """Rule on a slice, with the evidence or the reason for not judging it."""

    found: ComparedSlice
    rule: Floor | Margin
    strict: bool = False
    evidence: Evidence | None = None
    verdict: str = ""
    reason: str = ""

    @property
    def kind(self) -> str:
        if isinstance(self.rule, Floor):
            return "floor"
        return "must not regress" if self.strict else "margin"


def decide(
    slices: Sequence[ComparedSlice],
    gate: Gate,
    *,
    has_baseline: bool,
    same_model: bool = False,
    origins: Mapping[str, str] | None = None,
    baseline_failure: str = "",
) -> GateReport:
    """Decides whether a candidate is blessed.

    A loss is proven if its p-value, corrected for all tests of the gate, is at most the error rate.
    That a slice is no worse is proven at the error rate without correction: blessing a model
    requires it of every slice, and such a joint claim keeps the level of its parts (Berger,
    Technometrics, 1982).

    Args:
        slices: Results of both models.
        gate: Options.
        has_baseline: True if there is a blessed model to compare with.
        same_model: True if the candidate is the blessed model itself.
        origins: Origins of the slices by name, if known.
        baseline_failure: Reason why the Evaluator could not evaluate the blessed model, if known.

    Raises:
        ConfigError: The evaluation has no such slice or metric; the message lists those it has.
    """
    if same_model:
        reason = "The candidate is the blessed model itself: there is nothing new to push."
        return _report(gate, (), 0, blessed=False, reason=reason, baseline=SAME_MODEL)
    if not any(found.metrics and found.examples != 0 for found in slices):
        reason = "The evaluation holds no examples."
        baseline = NOT_EVALUATED if has_baseline else NO_BASELINE
        return _report(gate, (), 0, blessed=False, reason=reason, baseline=baseline)
    _check(slices, gate)
    evaluated = any(found.has_baseline for found in slices)
    baseline = COMPARED if evaluated else NOT_EVALUATED if has_baseline else NO_BASELINE
    questions = list(_questions(slices, gate, origins or {}, with_margins=evaluated))
    tested = [
        q.evidence.p_worse for q in questions if q.evidence and q.evidence.p_worse is not None
    ]
    correct = holm if gate.correction == HOLM else benjamini_hochberg
    adjusted = iter(correct(tested)) if tested else iter(())
    lines = []
    for question in questions:
        has_test = question.evidence is not None and question.evidence.p_worse is not None
        p = float(next(adjusted)) if has_test else None
        lines.append(_line(question, gate, p, len(tested)))
    lines.sort(key=_weight)
    blessed, reason = _conclude(lines, gate, baseline, baseline_failure)
    report = _report(
        gate, tuple(lines), len(tested), blessed=blessed, reason=reason, baseline=baseline
    )
    return dataclasses.replace(report, comparisons=tuple(compare_slices(slices, gate)))


def _check(slices: Sequence[ComparedSlice], gate: Gate) -> None:
    available = tuple(dict.fromkeys(metric for found in slices for metric in found.metrics))
    for rule in (*gate.floors, *gate.margins):
        if rule.metric not in available:
            raise ConfigError(
                "metric of the gate",
                received=rule.metric,
                expected=f"a metric of the evaluation: {', '.join(available)}",
            )
    names = [found.name for found in slices]
    # A value of a known column may be absent from the data of one day.
    check_patterns(gate, [ALL_EXAMPLES, *names, *map(_group, slices)])


def _group(found: ComparedSlice) -> str:
    if found.columns == (SLICES_FEATURE,):
        return f"{found.name.partition(' ')[0]} {ANY}"
    return template(dict.fromkeys(found.columns, ANY))


def _questions(
    slices: Sequence[ComparedSlice],
    gate: Gate,
    origins: Mapping[str, str],
    *,
    with_margins: bool,
) -> Iterator[_Question]:
    strict = len(gate.all_margins()) - len(gate.margins)
    rules: list[tuple[Floor | Margin, bool]] = [(rule, False) for rule in gate.floors]
    if with_margins:
        rules += [(rule, i < strict) for i, rule in enumerate(gate.all_margins())]
    names = {found.name for found in slices}
    absent = dict.fromkeys(
        rule.slices
        for rule, _ in rules
        if ANY not in rule.slices and not rule.origin and rule.slices not in names
    )
    for found in (*slices, *(ComparedSlice(name, examples=0) for name in absent)):
        taken = set()
        for rule, is_strict in rules:
            key = type(rule), rule.metric
            if key not in taken and matches(rule, found.name, origins.get(found.name, "")):
                taken.add(key)
                yield _question(found, rule, gate, strict=is_strict)


def _question(found: ComparedSlice, rule: Floor | Margin, gate: Gate, *, strict: bool) -> _Question:
    def unjudged(verdict: str, reason: str) -> _Question:
        return _Question(found, rule, strict, verdict=verdict, reason=reason)

    if not found.examples and not found.metrics:
        verdict = REFUSED if found.name == ALL_EXAMPLES else UNDECIDED
        return unjudged(verdict, "the evaluation has no examples of it")
    few = found.examples is not None and found.examples < gate.min_examples
    if few and found.name != ALL_EXAMPLES:
        reason = f"{found.examples:,} examples, fewer than min_examples={gate.min_examples}"
        return unjudged(SKIPPED, reason)
    if rule.metric not in found.metrics:
        return unjudged(UNDECIDED, f"the evaluation has no {rule.metric} of it")
    lower = gate.metrics[rule.metric] == LOWER
    if not math.isfinite(_value(found, rule.metric)):
        return unjudged(REFUSED, f"the {rule.metric} of the candidate is not a finite number")
    if isinstance(rule, Floor):
        evidence = judge_floor(found, rule.metric, rule.value, lower=lower)
    else:
        evidence = judge_margin(found, rule.metric, rule.value, lower=lower)
        if evidence is None or not math.isfinite(evidence.baseline or 0.0):
            reason = f"the {rule.metric} of the baseline could not be computed"
            verdict = REFUSED if gate.when_baseline_fails == REFUSE else SKIPPED
            return unjudged(verdict, reason)
    return _Question(found, rule, strict, evidence)


def _value(found: ComparedSlice, metric: str) -> float:
    if metric in found.answers:
        return 0.0  # Counts are finite.
    return found.sums[metric].candidate if metric in found.sums else found.candidate[metric]


def _line(question: _Question, gate: Gate, adjusted: float | None, tests: int) -> GateLine:
    rule, evidence = question.rule, question.evidence
    lower = gate.metrics[rule.metric] == LOWER
    threshold = _threshold(rule, lower=lower)
    if evidence is None:
        verdict = question.verdict
        decides = verdict == REFUSED or (verdict == UNDECIDED and gate.when_undecided == REFUSE)
        return GateLine(
            slice=question.found.name,
            metric=rule.metric,
            rule=question.kind,
            threshold=threshold,
            limit=rule.value,
            verdict=verdict,
            decides=decides,
            reason=f"{rule.metric} on {question.found.name}: {question.reason}",
            examples=question.found.examples,
        )
    verdict = _verdict(evidence, rule, gate, adjusted)
    needed = _needed(question.found, evidence, gate, tests) if verdict == UNDECIDED else None
    text = _text(question, evidence, threshold, verdict, gate, adjusted, needed)
    return GateLine(
        slice=question.found.name,
        metric=rule.metric,
        rule=question.kind,
        threshold=threshold,
        limit=rule.value,
        verdict=verdict,
        decides=verdict == REFUSED or (verdict == UNDECIDED and gate.when_undecided == REFUSE),
        reason=text,
        examples=question.found.examples,
        candidate=evidence.candidate,
        baseline=evidence.baseline,
        difference=None if evidence.baseline is None else evidence.candidate - evidence.baseline,
        low=evidence.low,
        high=evidence.high,
        p_value=evidence.p_worse,
        adjusted_p=adjusted,
        method=evidence.method,
        examples_needed=needed,
    )


def _verdict(evidence: Evidence, rule: Floor | Margin, gate: Gate, adjusted: float | None) -> str:
    if evidence.p_worse is None or evidence.p_not_worse is None or adjusted is None:
        return PASSED if evidence.met else REFUSED
    if adjusted <= gate.error_rate and not evidence.met:
        return REFUSED
    needs_proof = isinstance(rule, Margin) and rule.value > 0
    if needs_proof:
        return PASSED if evidence.p_not_worse <= gate.error_rate else UNDECIDED
    return PASSED if evidence.met else UNDECIDED


def _needed(found: ComparedSlice, evidence: Evidence, gate: Gate, tests: int) -> int | None:
    if not found.examples or evidence.p_worse is None or evidence.p_not_worse is None:
        return None
    alone = gate.error_rate / max(1, tests)
    return examples_needed(
        found.examples, evidence.p_worse, evidence.p_not_worse, alone, gate.error_rate
    )


def _threshold(rule: Floor | Margin, *, lower: bool) -> str:
    if isinstance(rule, Floor):
        return f"at {'most' if lower else 'least'} {rule.value}"
    return f"at most {rule.value} worse than the baseline" if rule.value else "no worse"


def _text(
    question: _Question,
    evidence: Evidence,
    threshold: str,
    verdict: str,
    gate: Gate,
    adjusted: float | None,
    needed: int | None,
) -> str:
    parts = [f"{question.rule.metric} on {_subject(question.found)}: {evidence.candidate:.4f}"]
    if evidence.baseline is not None:
        difference = evidence.candidate - evidence.baseline
        parts.append(f" against {evidence.baseline:.4f} of the baseline ({difference:+.4f}")
        if evidence.low is not None:
            parts.append(f", 95 % interval {evidence.low:+.4f} to {evidence.high:+.4f}")
        parts.append(")")
    elif evidence.low is not None:
        parts.append(f" (95 % interval {evidence.low:.4f} to {evidence.high:.4f})")
    parts.append(f"; required: {threshold}; {verdict}")
    if evidence.method == BARE:
        parts.append(" by its bare value: the evaluation has no standard error of it")
    elif adjusted is not None and verdict == REFUSED:
        name = _CORRECTION_NAMES[gate.correction]
        parts.append(f" ({evidence.method}, p {_p(adjusted)} after {name})")
    elif verdict == UNDECIDED and needed is not None:
        parts.append(f": about {needed:,} examples would decide")
    elif verdict == UNDECIDED:
        parts.append(": the measured value is at the threshold")
    return "".join(parts)


def _subject(found: ComparedSlice) -> str:
    n = found.examples
    if n is None:
        return found.name
    return (
        f"all {n:,} examples" if found.name == ALL_EXAMPLES else f"{found.name} of {n:,} examples"
    )


def _p(value: float) -> str:
    return "< 0.0001" if value < 1e-4 else f"= {value:.4f}"


def _conclude(
    lines: Sequence[GateLine], gate: Gate, baseline: str, failure: str
) -> tuple[bool, str]:
    deciding = [line for line in lines if line.decides]
    if deciding:
        more = f"; and {len(deciding) - 1} more" if len(deciding) > 1 else ""
        return False, f"{deciding[0].reason}{more}"
    if baseline == NOT_EVALUATED:
        because = f" because {failure}" if failure else ""
        missing = f"The evaluation has no results of the blessed model{because}"
        if gate.when_baseline_fails != FLOORS:
            return False, f"{missing}, and when_baseline_fails is {gate.when_baseline_fails!r}."
        return True, f"{missing}: judged by the floors alone, all of which are met."
    undecided = sum(line.verdict == UNDECIDED for line in lines)
    skipped = sum(line.verdict == SKIPPED for line in lines)
    passed = sum(line.verdict == PASSED for line in lines)
    parts = [f"{passed} of {len(lines)} thresholds are met"]
    parts += [f"{undecided} undecided"] if undecided else []
    parts += [f"{skipped} not judged"] if skipped else []
    note = "; there is no blessed model to compare with" if baseline == NO_BASELINE else ""
    return True, f"{', '.join(parts)}, none refuses{note}."


def _weight(line: GateLine) -> tuple:
    # Corrected p-values of 1 are equal; the others tell what comes closest to its threshold.
    p_values = [math.inf if p is None else p for p in (line.adjusted_p, line.p_value)]
    whole = line.slice == ALL_EXAMPLES
    return VERDICTS.index(line.verdict), not whole, *p_values, line.slice, line.metric


def _report(
    gate: Gate,
    lines: tuple[GateLine, ...],
    tests: int,
    *,
    blessed: bool,
    reason: str,
    baseline: str,
) -> GateReport:
    return GateReport(
        blessed=blessed,
        reason=reason,
        baseline=baseline,
        lines=lines,
        correction=gate.correction,
        error_rate=gate.error_rate,
        tests=tests,
        gate=gate.to_dict(),
    )
