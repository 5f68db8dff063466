"""Tables of strategies, of the candidates of a strategy selection, and of evaluation slices."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from tfx_feeder.common.durations import format_duration
from tfx_feeder.components.feeder_trainer.distribution.strategy_info import StrategyInfo
from tfx_feeder.components.feeder_trainer.strategy_selection.decision import device_kind
from tfx_feeder.schemas.gate_report import PASSED, REFUSED, UNDECIDED
from tfx_feeder.schemas.training_history import CandidateRecord

if TYPE_CHECKING:  # Imports ML Metadata, and light commands import this module.
    from tfx_feeder.pipeline.metadata.slice_results import SliceResult

_VERDICT_STYLES = {REFUSED: "red", UNDECIDED: "yellow", PASSED: None}
_STYLES = {"chosen": "bold green", "too slow": "yellow", "too expensive": "yellow"}


def candidates_table(rows: Iterable[CandidateRecord]) -> RenderableType:
    """Returns a table of candidates with profile, prediction, status and reason.

    Args:
        rows: Candidates from the training history; their actual durations are shown if recorded.
    """
    rows = list(rows)
    table = _table("Strategies")
    for heading in ("strategy", "devices", "step", "predicted", "cost"):
        left = heading == "strategy"
        table.add_column(heading, justify="left" if left else "right", no_wrap=True)
    has_actual = any(row.actual_s is not None for row in rows)
    if has_actual:
        table.add_column("actual", justify="right")
    table.add_column("status", no_wrap=True)
    for row in rows:
        table.add_row(
            row.strategy,
            _devices(row),
            "\n".join(_steps(row)),
            _predicted(row),
            "" if row.cost is None else f"{row.cost:.3g}",
            *([_actual(row)] if has_actual else []),
            row.verdict,
            style=_STYLES.get(row.verdict),
        )
    # A column of reasons would be only a few characters wide.
    reasons = (f" [bold]{row.strategy}[/]: {escape(row.reason)}" for row in rows if row.reason)
    return Group(table, *reasons, "")


def strategies_table(infos: Iterable[StrategyInfo]) -> Table:
    """Returns a table of strategies with behavior, requirements and batch split."""
    table = _table("Strategies")
    table.add_column("strategy", no_wrap=True)
    for heading in ("description", "requires", "batch split"):
        table.add_column(heading)
    for info in infos:
        table.add_row(info.name, info.description, info.requires, info.batch_split)
    return table


def slices_table(
    results: "Sequence[SliceResult]",
    title: str,
    classes: Sequence[str] = (),
    *,
    thresholds: bool = True,
) -> Table:
    """Returns a table of slices with both models, their difference and the verdict.

    Args:
        results: Results by slice.
        title: Title of the table.
        classes: Class names in index order, shown beside the labels.
        thresholds: False to save the width of their column.
    """
    table = _table(title)
    with_origin = any(result.origin for result in results)
    several = len({result.metric for result in results}) > 1
    table.add_column("slice")
    for heading, shown in (("metric", several), ("origin", with_origin)):
        if shown:
            table.add_column(heading)
    for heading in ("examples", "candidate", "baseline", "difference (95 %)"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading, shown in (("required", thresholds), ("verdict", True)):
        if shown:
            table.add_column(heading)
    for result in results:
        table.add_row(
            escape(with_class(result.slice, classes)),
            *([escape(result.metric)] if several else []),
            *([result.origin] if with_origin else []),
            "" if result.examples is None else f"{result.examples:,}",
            _number(result.candidate),
            _number(result.baseline) or "none",
            _difference(result),
            *([escape("; ".join(result.thresholds))] if thresholds else []),
            result.verdict or "not judged",
            style=_VERDICT_STYLES.get(result.verdict, "dim"),
        )
    return table


def with_class(name: str, classes: Sequence[str]) -> str:
    """Returns the name of a slice with that of its class, as in ``label 3 (cat)``.

    Args:
        name: Name of the slice.
        classes: Class names in index order.
    """
    feature, _, label = name.rpartition(" ")
    if feature != "label" or not label.isdecimal() or int(label) >= len(classes):
        return name
    known = classes[int(label)]
    return name if known == label else f"{name} ({known})"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _difference(result: "SliceResult") -> str:
    if result.difference is None:
        return ""
    interval = ""
    if result.low is not None and result.high is not None:
        interval = f" ({result.low:+.3f} to {result.high:+.3f})"
    return f"{result.difference:+.4f}{interval}"


def _devices(row: CandidateRecord) -> str:
    counts = Counter(map(device_kind, row.devices))
    text = " + ".join(f"{count} {kind}" for kind, count in counts.items())
    # Several replicas run on logical devices of the same processor.
    return text if row.replicas == len(row.devices) else f"{row.replicas} on {text}"


def _steps(row: CandidateRecord) -> Iterator[str]:
    for step in (row.probe or {}).get("steps", ()):
        yield f"{1e3 * step['median_s']:.3g} ms at {step['batch_size']}"


def _predicted(row: CandidateRecord) -> str:
    if row.predicted_s is None or row.low_s is None or row.high_s is None:
        return ""
    low, high = format_duration(row.low_s), format_duration(row.high_s)
    return f"{format_duration(row.predicted_s)}\n{low} – {high}"


def _actual(row: CandidateRecord) -> str:
    if row.actual_s is None:
        return ""
    ratio = row.actual_to_predicted
    relative = "" if ratio is None else f"\n{ratio:.2f}x predicted"
    return f"{format_duration(row.actual_s)}{relative}"


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
