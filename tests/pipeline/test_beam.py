"""Beam profiles: their options, and errors about missing ones."""

import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.pipeline.beam import ARGUMENTS, PROFILES, beam_args
from tfx_feeder.pipeline.cli.errors import ErrorReporting
from tfx_feeder.pipeline.cli.options import request_options

DOCS = Path(__file__).parents[2] / "docs" / "beam.md"
CLOUD = ("project=p", "region=r", "temp_location=gs://b/t", "extra_package=a.whl")
IMAGE = "sdk_container_image=shop:1"


def cell(profile: str, argument: str) -> str:
    """Returns what the table of the docs says about an argument of a profile."""
    place = PROFILES[profile]
    if argument in place.defaults:
        value = place.defaults[argument]
        return "set" if value is None else f"`{value}`"
    group = next((group for group in place.required if argument in group), None)
    if group is not None:
        return "required" if len(group) == 1 else "one of them"
    return "optional" if argument in place.optional else ""


def test_docs_have_the_table():
    table = [
        [f"`{argument}`", *(cell(profile, argument) for profile in PROFILES), meaning]
        for argument, meaning in ARGUMENTS.items()
    ]
    header = ["Option", *(f"`{profile}`" for profile in PROFILES), "Meaning"]
    lines = [line for line in DOCS.read_text().splitlines() if line.startswith("| ")]
    assert lines == [re.sub(" +", " ", f"| {' | '.join(row)} |") for row in [header, *table]]


def test_each_argument_belongs_to_a_profile():
    named = {
        name
        for place in PROFILES.values()
        for name in (
            *place.defaults,
            *place.optional,
            *(name for group in place.required for name in group),
        )
    }
    assert named == set(ARGUMENTS)


def test_on_one_machine_nothing_has_to_be_named():
    assert beam_args() == (
        "--sdk_container_image=none",
        "--allow_unsafe_triggers",
        "--pickle_library=cloudpickle",
    )


def test_arguments_come_last_and_replace_what_is_set():
    args = beam_args("direct", ["pickle_library=dill", "--direct_num_workers=2", "streaming"])
    assert args == (
        "--sdk_container_image=none",
        "--allow_unsafe_triggers",
        "--pickle_library=dill",
        "--direct_num_workers=2",
        "--streaming",
    )


def test_argument_can_be_given_again():
    args = beam_args("dataflow", [*CLOUD, "extra_package=b.whl"])
    assert args[-2:] == ("--extra_package=a.whl", "--extra_package=b.whl")
    assert "--runner=DataflowRunner" in args


@pytest.mark.parametrize(
    ("profile", "runner"),
    [("portable", "PortableRunner"), ("flink", "FlinkRunner"), ("spark", "SparkRunner")],
)
def test_containers_of_a_cluster_get_the_image(profile, runner):
    args = beam_args(profile, ["job_endpoint=host:8099", IMAGE])
    assert {f"--runner={runner}", "--environment_type=DOCKER"} < set(args)
    assert "--environment_config=shop:1" in args, "Beam reads sdk_container_image for Dataflow only"


def test_workers_need_no_image_where_they_run_already():
    args = beam_args(
        "flink",
        [
            "flink_master=host:8081",
            "environment_type=EXTERNAL",
            "environment_config=localhost:50000",
            "extra_package=a.whl",
        ],
    )
    assert "--environment_type=EXTERNAL" in args
    assert "--environment_type=DOCKER" not in args


POOL = ["job_endpoint=h:1", "environment_type=EXTERNAL"]


@pytest.mark.parametrize(
    ("profile", "arguments", "message"),
    [
        ("beam", [], "one of direct, portable, flink, spark, dataflow"),
        *(
            ("dataflow", [other for other in CLOUD if other is not left_out], f"argument {name}")
            for left_out in CLOUD
            for name in [left_out.partition("=")[0].replace("extra_package", "sdk_container_image")]
        ),
        ("dataflow", ["project", *CLOUD[1:]], "argument project"),
        ("portable", [IMAGE], "argument job_endpoint as well"),
        ("flink", [IMAGE], "argument job_endpoint or flink_master"),
        ("spark", [IMAGE], "argument job_endpoint or spark_master_url"),
        ("spark", ["job_endpoint=h:1"], "argument sdk_container_image or extra_package"),
        ("flink", ["job_endpoint=h:1", "extra_package=a.whl"], "argument sdk_container_image as"),
        ("portable", [*POOL, IMAGE], "argument environment_config"),
        ("portable", [*POOL, "environment_config=h:2"], "argument sdk_container_image or"),
        ("portable", ["job_endpoint=h:1", "environment_type=POD"], "one of DOCKER, PROCESS"),
        ("direct", ["=2"], "NAME=VALUE"),
        ("direct", ["direct num workers=2"], "NAME=VALUE"),
    ],
)
def test_what_is_missing_is_said(profile, arguments, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        beam_args(profile, arguments)


@click.command(cls=ErrorReporting)
@request_options
def shown(request):
    """Stands for the command lines of the reference pipeline."""
    click.echo("\n".join(request.beam_args))


def test_command_lines_take_a_profile():
    result = CliRunner().invoke(shown, ["--beam-arg", "direct_num_workers=2"])
    assert result.output.splitlines() == [*beam_args(), "--direct_num_workers=2"]
    options = ["--beam", "portable", "--beam-arg", "job_endpoint=h:1", "--beam-arg", IMAGE]
    result = CliRunner().invoke(shown, options)
    assert result.output.splitlines() == list(beam_args("portable", ["job_endpoint=h:1", IMAGE]))


def test_wrong_arguments_are_a_wrong_usage():
    result = CliRunner().invoke(shown, ["--beam", "flink"])
    assert result.exit_code == 2
    assert "job_endpoint or flink_master" in result.output
