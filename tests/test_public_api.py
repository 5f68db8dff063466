"""Public API: the names that ``tfx_feeder`` exports."""

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import tfx_feeder
from tfx_feeder.components import feeder_trainer

API = Path(__file__).parent.parent / "docs" / "api.md"
PROGRAM = """
import sys
import tfx_feeder
for name in tfx_feeder.components.feeder_trainer.__all__:
    if name != "FeederTrainer":
        getattr(tfx_feeder, name)
assert not {"tfx", "tensorflow"} & sys.modules.keys()
"""


def test_the_page_lists_every_public_name() -> None:
    documented = re.findall(r"^::: (\S+)\.(\w+)$", API.read_text(), re.MULTILINE)
    assert sorted(name for _, name in documented) == sorted(tfx_feeder.__all__)
    for module, name in documented:
        assert getattr(tfx_feeder, name) is getattr(import_module(module), name)


def test_the_trainers_names_are_those_of_its_package() -> None:
    assert set(feeder_trainer.__all__) <= set(tfx_feeder.__all__)
    for name in feeder_trainer.__all__:
        assert getattr(feeder_trainer, name).__name__ == name


def test_schedules_strategies_and_options_load_neither_tfx_nor_tensorflow() -> None:
    program = PROGRAM.replace("tfx_feeder.components.feeder_trainer.__all__", "names")
    program = f"names = {feeder_trainer.__all__}" + program
    subprocess.run([sys.executable, "-c", program], check=True)
