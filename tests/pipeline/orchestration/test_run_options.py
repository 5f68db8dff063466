"""Values of templates reach the shell as one word."""

import subprocess

import jinja2
import pytest

from tfx_feeder.pipeline.orchestration.run_options import quoted_template


@pytest.mark.parametrize("value", ["a b", "it's", "'; touch broken; '", "$HOME `id`", ""])
def test_the_value_of_a_template_is_one_word_of_the_shell(value: str, tmp_path) -> None:
    word = jinja2.Template(quoted_template("{{ value }}")).render(value=value)

    shown = subprocess.run(
        ["sh", "-c", f"printf %s {word}"], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert shown.stdout == value
    assert list(tmp_path.iterdir()) == []
