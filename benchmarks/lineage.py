r"""How long the commands take that ask a store, on one that holds the runs of years.

\b
import tfx  what a program pays that asks a store by way of TFX
runs, ...   the commands as a user types them

The store holds 10,000 executions in 1,000 runs, of whose models 900 were pushed. `answer` is what a
command takes from when everything has been imported to its last line, `process` is all of it. The
ratio compares whole processes.
"""

import contextlib
import io
import tempfile
from pathlib import Path
from typing import Any

import click
import harness

REFERENCE = "import tfx"
COMMANDS = (
    "runs",
    "run latest",
    "models",
    "history latest",
    "lineage latest",
    "why latest",
    "diff previous latest",
    "artifacts",
    "gc",
    "report latest",
    "compare previous latest",
)
_WRITING = ("report", "compare")
_COLUMNS = {
    "answer_s": ".2f",
    "answer_cpu_s": ".2f",
    "process_s": ".2f",
    "process_cpu_s": ".2f",
}


@click.command(help=__doc__)
@click.option("--executions", default=10_000, show_default=True, help="In the store.")
@harness.options(repeats=3)
def main(executions: int, repeats: int, quick: bool, only: str | None, work_dir: Path | None):
    if only:
        assert work_dir is not None
        harness.emit(_measure(only, work_dir))
        return
    # Not above: measured processes import what a command imports, and no more.
    from generated_store import write_store

    with tempfile.TemporaryDirectory() as folder:
        write_store(Path(folder), 100 if quick else executions)
        variants = (REFERENCE, *COMMANDS)
        samples = harness.in_turn(__file__, variants, repeats, Path(folder), quick=quick)
    _report(samples)


def _measure(variant: str, work_dir: Path) -> dict[str, Any]:
    if variant == REFERENCE:
        from tfx import v1  # noqa: F401

        return {"answer_s": 0.0, "answer_cpu_s": 0.0}
    from tfx_feeder.pipeline.cli.main import main as group

    name, *arguments = variant.split()
    arguments += ["--store", str(work_dir)]
    if name in _WRITING:
        arguments += ["--output", str(work_dir / "page.html")]
    context = click.Context(group)
    command = group.get_command(context, name)
    assert command is not None
    with harness.stopwatch() as times, contextlib.redirect_stdout(io.StringIO()):
        command.main(arguments, standalone_mode=False)
    return {"answer_s": times["wall_s"], "answer_cpu_s": times["cpu_s"]}


def _report(samples: harness.Samples) -> None:
    rows = [(name, *harness.medians(taken, _COLUMNS)) for name, taken in samples.items()]
    harness.show("", ("command", *_COLUMNS), rows)
    for figure, word in (("process_cpu_s", "CPU seconds"), ("process_s", "wall time")):
        ratio = harness.describe(harness.ratios(samples["runs"], samples[REFERENCE], figure))
        text = f"{word} of the whole process, `tfx-feeder runs` to `import tfx`"
        print(f"{text}: {ratio}" if figure != "process_s" else f"ratio {ratio}: {text}")


if __name__ == "__main__":
    main()
