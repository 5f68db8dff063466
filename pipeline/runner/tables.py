"""The strategies among which one is chosen, and all that there are, as tables."""

from collections import Counter
from collections.abc import Iterable, Iterator

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from tfx_feeder.common.durations import format_duration
from tfx_feeder.components.feeder_trainer.distribution.options import StrategyInfo
from tfx_feeder.components.feeder_trainer.strategy_selection.decision import device_kind
from tfx_feeder.schemas.training_history import CandidateRecord

_STYLES = {"chosen": "bold green", "too slow": "yellow", "too expensive": "yellow"}


def candidates_table(rows: Iterable[CandidateRecord]) -> RenderableType:
    """Returns the candidates: what was measured and predicted of each, the verdict and its reason.

    Args:
        rows: As the training history holds them. Where it says what the training took, that is
            shown as well.
    """
    rows = list(rows)
    table = _table("Strategies")
    for heading in ("strategy", "devices", "step", "predicted", "cost"):
        left = heading == "strategy"
        table.add_column(heading, justify="left" if left else "right", no_wrap=True)
    told = any(row.actual_s is not None for row in rows)
    if told:
        table.add_column("took", justify="right")
    table.add_column("verdict", no_wrap=True)
    for row in rows:
        table.add_row(
            row.strategy,
            _devices(row),
            "\n".join(_steps(row)),
            _predicted(row),
            "" if row.cost is None else f"{row.cost:.3g}",
            *([_took(row)] if told else []),
            row.verdict,
            style=_STYLES.get(row.verdict),
        )
    # Beside the rest a reason would be squeezed into a few letters a line.
    reasons = (f" [bold]{row.strategy}[/]: {escape(row.reason)}" for row in rows if row.reason)
    return Group(table, *reasons, "")


def strategies_table(infos: Iterable[StrategyInfo]) -> Table:
    """Returns what strategies there are."""
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
    # Logical devices share a processor.
    return text if row.replicas == len(row.devices) else f"{row.replicas} on {text}"


def _steps(row: CandidateRecord) -> Iterator[str]:
    for step in (row.probe or {}).get("steps", ()):
        yield f"{1e3 * step['median_s']:.3g} ms at {step['batch_size']}"


def _predicted(row: CandidateRecord) -> str:
    if row.predicted_s is None or row.low_s is None or row.high_s is None:
        return ""
    low, high = format_duration(row.low_s), format_duration(row.high_s)
    return f"{format_duration(row.predicted_s)}\n{low} – {high}"


def _took(row: CandidateRecord) -> str:
    if row.actual_s is None:
        return ""
    ratio = row.actual_to_predicted
    of_predicted = "" if ratio is None else f"\n{ratio:.2f} of it"
    return f"{format_duration(row.actual_s)}{of_predicted}"


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
