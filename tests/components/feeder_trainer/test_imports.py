"""What the plain modules may load: tools must read schedules and histories in milliseconds."""

import subprocess
import sys

WITHOUT_TENSORFLOW = [
    "tfx_feeder.common.errors",
    "tfx_feeder.common.durations",
    *(
        f"tfx_feeder.components.feeder_trainer.{name}"
        for name in (
            "distribution.options",
            "feed.options",
            "feed.sampler",
            "model.source_files",
            "model.user_module",
            "schedules.grammar",
            "schedules.length",
            "schedules.schedule",
            "schedules.time_model",
            "strategy_selection.budget",
            "strategy_selection.decision",
            "strategy_selection.profile_cache",
            "training.eta",
            "training.progress",
        )
    ),
    "tfx_feeder.schemas.training_history",
]

PROGRAM = f"""
import importlib, pathlib, sys
import tfx_feeder.components.feeder_trainer as room

def load(names, forbidden):
    for name in names:
        importlib.import_module(name)
        found = sorted({{module.partition(".")[0] for module in sys.modules}} & set(forbidden))
        assert not found, f"{{name}} imports {{', '.join(found)}}"

load({WITHOUT_TENSORFLOW}, ["tfx", "tensorflow", "keras"])
folder = pathlib.Path(room.__file__).parent
with_tfx = {{"component", "executor", "driver", "__init__"}}
paths = [path.relative_to(folder) for path in folder.rglob("*.py") if path.stem not in with_tfx]
names = sorted(".".join(path.with_suffix("").parts) for path in paths)
load([f"{{room.__name__}}.{{name}}" for name in names], ["tfx"])
print(len(names))
"""


def test_plain_modules_import_neither_tfx_nor_more_than_they_need() -> None:
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)

    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > len(WITHOUT_TENSORFLOW)
