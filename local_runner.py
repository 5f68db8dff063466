"""Runs the reference pipeline in this process."""

import dataclasses
import sys

import click

from tfx_feeder.pipeline.cli.errors import ErrorReporting
from tfx_feeder.pipeline.cli.options import request_options
from tfx_feeder.pipeline.runner.launch import RunRequest, run_with_logging


@click.command(cls=ErrorReporting, context_settings={"help_option_names": ["-h", "--help"]})
@request_options
@click.option("--verbose", is_flag=True, help="Also show the TFX log.")
def main(request: RunRequest, verbose: bool) -> None:
    """Train on images, evaluate the model against the latest blessed one, and push it.

    Exit status: 0 success, 1 failure, 2 usage error, 3 model not blessed, 5 another
    process runs the pipeline, 130 interrupted.
    """
    sys.exit(run_with_logging(dataclasses.replace(request, verbose=verbose)))


if __name__ == "__main__":
    main()
