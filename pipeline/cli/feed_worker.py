"""The command ``tfx-feeder feed-worker``: the servers of distributed feeding, for real clusters."""

import threading

import click


@click.command()
@click.option("--service", metavar="grpc://HOST:PORT", help="Work for this dispatcher.")
@click.option("--dispatcher", is_flag=True, help="Be the dispatcher, of which a cluster has one.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="Listen here; 0: a free one."
)
@click.option(
    "--address",
    metavar="HOST:PORT",
    help="Where trainers reach this worker; needed if they are on other machines.",
)
def feed_worker(service: str | None, dispatcher: bool, port: int, address: str | None) -> None:
    """Run one server of tf.data service until interrupted.

    Start one dispatcher, then workers, each on a machine that sees the Examples under the same
    paths as the trainer, and say Feed(service="grpc://HOST:PORT") in the pipeline.
    """
    if dispatcher == (service is not None):
        raise click.UsageError("Give either --service or --dispatcher.")
    if service is not None and not service.startswith("grpc://"):
        raise click.BadParameter(f"{service!r}: expected grpc://HOST:PORT", param_hint="--service")
    if dispatcher and address is not None:
        raise click.UsageError("--address is a worker's: a dispatcher needs --port only.")
    from tfx_feeder.components.feeder_trainer.feed.service_cluster import (
        start_dispatcher,
        start_worker,
    )

    if service is None:
        server = start_dispatcher(port)
        click.echo(f"Dispatcher ready at {server.target}")
    else:
        server = start_worker(service, port, address)
        click.echo(f"Worker ready for {service}")
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        click.echo("Stopped.")
