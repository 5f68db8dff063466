"""The image: what its Dockerfile says, as far as that can be read, and the command that builds it.

No engine is needed: the context is what ``.dockerignore`` lets through.
"""

import fnmatch
import itertools
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

import tfx_feeder
from tfx_feeder.common.errors import ConfigError
from tfx_feeder.pipeline.cli import image
from tfx_feeder.pipeline.cli.environment import LINES
from tfx_feeder.pipeline.orchestration.kubernetes.manifests import GROUP

ROOT = Path(__file__).parents[3]
DOCKERFILE = ROOT / "Dockerfile"


def instructions():
    """Returns the instructions of each stage, as (word, rest)."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n", " ", text).splitlines()
    stages = [[]]
    for word, _, rest in (line.partition(" ") for line in filter(None, lines)):
        if word == "FROM":
            stages.append([])
        stages[-1].append((word, rest))
    return stages


def goes_into_context(path):
    """Says whether ``.dockerignore`` lets a file through: the last line that matches decides."""
    ignored = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        if not line or line.startswith("#"):
            continue
        parts = [path, *map(str, Path(path).parents)]
        matches = (fnmatch.fnmatch(each, pattern.removeprefix("**/")) for each in parts)
        if any(matches) or (
            pattern.startswith("**/") and fnmatch.fnmatch(path, f"*/{pattern[3:]}")
        ):
            ignored = not line.startswith("!")
    return not ignored


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    """Returns a copy of what goes into a build."""
    folder = tmp_path_factory.mktemp("context")

    def ignored(parent, names):
        paths = {name: Path(parent, name).relative_to(ROOT).as_posix() for name in names}
        return [name for name, path in paths.items() if not goes_into_context(path)]

    for path in filter(lambda path: goes_into_context(path.name), ROOT.iterdir()):
        if path.is_dir():
            shutil.copytree(path, folder / path.name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(path, folder)
    return folder


def test_all_that_is_copied_is_in_the_context_and_little_else(context):
    copied = [
        source
        for stage in instructions()
        for word, rest in stage
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
        if "$" not in source
    ]
    assert len(copied) >= 6
    assert all((context / source).exists() for source in copied), copied
    assert {path.name for path in context.iterdir()} - {"pipeline.json"} == set(copied)
    for secret in (".git/config", ".venv/bin/python", "runs/metadata.sqlite", "tests/conftest.py"):
        assert not goes_into_context(secret)
    assert not goes_into_context("pipeline/__pycache__/cli.pyc")
    assert goes_into_context("pipeline.json")
    assert goes_into_context("compiled/pipeline.json")


def test_the_newest_line_is_installed_from_its_lock_on_a_system_that_has_it():
    arguments = dict(
        rest.split("=", 1) for stage in instructions() for word, rest in stage if word == "ARG"
    )
    (line,) = (each for each in LINES if each.name == arguments["LINE"])
    assert line is LINES[0]
    python, system = re.fullmatch(r"python:(3\.\d+)-slim-(\w+)", arguments["BASE"]).groups()
    assert python in line.pythons
    assert system == "trixie"  # Debian 13, glibc 2.41.
    assert (ROOT / f"requirements/tfx-{line.name}.txt").exists()
    assert "--require-hashes" in DOCKERFILE.read_text()


def test_the_last_stage_has_no_compiler_and_no_root():
    *_, build, last = instructions()
    assert "g++" not in str(last)
    assert "apt-get" in str(build)
    assert "apt-get" not in str(last)
    assert [rest for word, rest in last if word == "USER"] == [str(GROUP)]
    assert f"--gid {GROUP} feeder" in str(last)
    assert ("ENTRYPOINT", '["tfx-feeder"]') in last


@pytest.mark.slow
def test_the_context_is_enough_to_install_the_package(context, tmp_path):
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    made = subprocess.run(
        [*command, "--wheel-dir", str(tmp_path), str(context)], capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    (wheel,) = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("tfx_feeder/")}
    sources = {
        f"tfx_feeder/{path.relative_to(context)}"
        for package in ("common", "components", "pipeline", "schemas", "serving")
        for path in (context / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert sources | {"tfx_feeder/__init__.py"} == packed


def run(*arguments):
    result = CliRunner().invoke(image.image, arguments)
    return result.exit_code, result.output


@pytest.mark.parametrize("engine", ["docker", "podman", "buildah", None])
def test_command_is_that_of_the_engine_which_is_there(engine, monkeypatch):
    monkeypatch.setattr(image.shutil, "which", lambda name: name if name == engine else None)
    status, output = run("--tag", "shop:1")
    assert status == 0
    expected = [engine or "docker", "build", "--file", str(DOCKERFILE), "--tag", "shop:1"]
    assert shlex.split(output) == [*expected, str(ROOT)]


@pytest.mark.skipif(shutil.which("git") is None, reason="Git is not installed")
def test_tag_says_version_and_commit(tmp_path):
    version = f"tfx-feeder:{tfx_feeder.__version__}"
    assert image.default_tag(tmp_path) == version
    (tmp_path / "Dockerfile").touch()
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.com")
    for arguments in (
        ["init", "--quiet"],
        ["add", "Dockerfile"],
        [*identity, "commit", "--quiet", "-m", "First"],
    ):
        subprocess.run(["git", "-C", tmp_path, *arguments], check=True)
    tag = image.default_tag(tmp_path)
    assert re.fullmatch(rf"{re.escape(version)}-[0-9a-f]{{12}}", tag)
    (tmp_path / "Dockerfile").write_text("FROM scratch")
    assert image.default_tag(tmp_path) == f"{tag}-dirty"


def test_pipeline_and_base_are_arguments_of_the_build(tmp_path):
    path = tmp_path / "compiled" / "pipeline.json"
    path.parent.mkdir()
    command = image.build_command(tmp_path, "shop:1", pipeline=path, base="cuda:12")
    given = [after for word, after in itertools.pairwise(command) if word == "--build-arg"]
    assert given == ["BASE=cuda:12", "PIPELINE=compiled/pipeline.json"]
    for elsewhere in (tmp_path.parent / "pipeline.json", tmp_path / "p.json"):
        with pytest.raises(ConfigError, match=r"a file pipeline\.json below"):
            image.build_command(tmp_path, "shop:1", pipeline=elsewhere)
