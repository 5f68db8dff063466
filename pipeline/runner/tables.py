"""Tables of distribution strategies and of the candidates of a strategy selection."""

from collections import Counter
from collections.abc import Iterable, Iterator

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from tfx_feeder.common.durations import format_duration
from tfx_feeder.components.feeder_trainer.distribution.strategy_info import StrategyInfo
from tfx_feeder.components.feeder_trainer.strategy_selection.decision import device_kind
from tfx_feeder.schemas.training_history import CandidateRecord

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
