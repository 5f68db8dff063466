"""Progress display of a run: components, elapsed time, cache use and training progress."""

import logging
import time
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.table import Table

from tfx_feeder.components.feeder_trainer.training import progress as training
from tfx_feeder.pipeline.runner.tables import candidates_table

# Log messages of TFX's local runner and launcher.
_STARTS, _ENDS = "Component %s is running.", "Component %s is finished."
_CACHED = "A cached execution %d is used."


@dataclass(slots=True)
class NodeProgress:
    """Progress of one component.

    Args:
        name: Name of the component, such as ``Transform``.
        started: Start time on the clock of ``time.monotonic``.
        seconds: Run time in seconds; ``None`` while the component runs.
        cached: True if the outputs come from an earlier run.
        note: Latest progress message.
    """

    name: str
    started: float
    seconds: float | None = None
    cached: bool = False
    note: str = ""

    @property
    def state(self) -> str:
        """``cached`` or the run time."""
        return "cached" if self.cached else f"{self.seconds or 0:.1f} s"


class RunProgress(logging.Handler):
    """Displays the progress of a run on a console, based on its log records.

    A terminal shows a table that is updated in place; other outputs get one line per event.

    Args:
        console: Console for the output.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(logging.DEBUG)
        self.nodes: list[NodeProgress] = []
        self._console = console
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=4)
        self._spinner = Spinner("dots")
        self._loggers = [logging.getLogger("absl"), training.LOGGER]

    @property
    def current(self) -> str | None:
        """Name of the component that is running or has failed."""
        return self.nodes[-1].name if self.nodes and self.nodes[-1].seconds is None else None

    def __enter__(self) -> "RunProgress":
        self._level = training.LOGGER.level
        training.LOGGER.setLevel(logging.DEBUG)
        for logger in self._loggers:
            logger.addHandler(self)
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for logger in self._loggers:
            logger.removeHandler(self)
        training.LOGGER.setLevel(self._level)
        if self._console.is_terminal:
            self._live.stop()

    def emit(self, record: logging.LogRecord) -> None:
        """Processes a log record if it reports progress."""
        progress, choice = getattr(record, "progress", None), getattr(record, "choice", None)
        if progress is not None:
            self._show_training(progress)
        elif choice is not None:
            self._console.print(candidates_table(choice.to_rows()))
        elif (warning := getattr(record, "warning", None)) is not None:
            self._console.print(f"[yellow]Warning:[/] {escape(warning)}", soft_wrap=True)
        elif (resumed := getattr(record, "resumed", None)) is not None:
            self._console.print(f"  {escape(resumed)}", highlight=False, soft_wrap=True)
        elif record.msg == _STARTS:
            self.nodes.append(NodeProgress(_name(record), time.monotonic()))
        elif record.msg == _CACHED and self.nodes:
            self.nodes[-1].cached = True
        elif record.msg == _ENDS and self.nodes:
            node = self.nodes[-1]
            node.seconds = time.monotonic() - node.started
            self._echo(f"{node.name:<20}{node.state}")

    def _show_training(self, progress: training.Progress) -> None:
        if self.nodes:
            self.nodes[-1].note = str(progress)
        if progress.done:
            self._echo(f"  {progress}")

    def _echo(self, line: str) -> None:
        if not self._console.is_terminal:
            self._console.print(line, highlight=False, soft_wrap=True)

    def _render(self) -> RenderableType:
        table = Table.grid(padding=(0, 2))
        for node in list(self.nodes):
            if node.seconds is None:
                elapsed = time.monotonic() - node.started
                table.add_row(self._spinner, node.name, f"{elapsed:.0f} s", node.note)
            else:
                table.add_row("[green]✓[/]", node.name, node.state, node.note)
        return table


def _name(record: logging.LogRecord) -> str:
    return str(record.args[0]) if isinstance(record.args, tuple) and record.args else ""
