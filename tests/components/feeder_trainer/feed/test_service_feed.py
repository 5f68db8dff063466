"""Real tf.data service processes feed every example, even if one of them is killed."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import tensorflow as tf
from click.testing import CliRunner

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.feed.feed import open_feed
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions
from tfx_feeder.components.feeder_trainer.feed.service_cluster import start_dispatcher, start_worker
from tfx_feeder.components.feeder_trainer.feed.service_feed import plan_file_shards
from tfx_feeder.pipeline.cli.main import main


@pytest.mark.parametrize("shuffle", [True, False])
def test_file_shards_hold_each_position_of_a_pass_once(shuffle):
    counts = [10, 0, 7, 23]
    shards = plan_file_shards(counts, range(15, 135), 3, shuffle=shuffle, num_shards=8)
    positions = [p for shard in shards for p in range(shard.position, shard.position + shard.take)]
    assert positions == list(range(15, 135))
    assert len(shards) >= 8
    whole_passes = [shard for shard in shards if 40 <= shard.position < 120]
    seen = [(p.file, r) for p in whole_passes for r in range(p.skip, p.skip + p.take)]
    expected = [(file, record) for file, n in enumerate(counts) for record in range(n)]
    assert sorted(seen) == sorted(expected * 2)


@pytest.mark.parametrize("cut_at", [1, 39, 40, 77])
def test_file_shards_of_two_ranges_are_those_of_the_whole(cut_at):
    def records(positions):
        shards = plan_file_shards([10, 7, 23], positions, 3, shuffle=True, num_shards=4)
        return [(p.file, r) for p in shards for r in range(p.skip, p.skip + p.take)]

    assert records(range(cut_at)) + records(range(cut_at, 120)) == records(range(120))


@pytest.mark.parametrize(
    "options",
    [
        {"service": "local"},
        {"service": "local:0"},
        {"service": "host:5050"},
        {"service": "local:2", "cache": "memory"},
        {"service": "local:2", "mix": {"train": 1}},
        {"service": "local:2", "service_timeout_s": 0},
    ],
)
def test_incompatible_options_are_refused(options):
    with pytest.raises(ConfigError, match="service"):
        FeedOptions(**options)


def _slow_noise(features, seed):
    work = tf.linalg.matmul(*[tf.random.stateless_uniform((700, 700), seed)] * 2)
    nothing = tf.cast(tf.reduce_sum(work) * 0, tf.uint8)
    return {"image": features["image"] + nothing}


def _epochs_of(feed, labels_of, epochs, batch_size):
    batches = list(feed.batches(epochs, batch_size))
    sizes = [len(label) for _, label in batches]
    expected = [
        min(batch_size, epoch.stop - start)
        for epoch in epochs
        for start in range(epoch.start, epoch.stop, batch_size)
    ]
    assert sizes == expected, "A batch spans two epochs."
    labels = labels_of(batches)
    return [sorted(labels[epoch.start - epochs[0].start :][: len(epoch)]) for epoch in epochs]


@pytest.mark.multi_worker
@pytest.mark.slow
def test_every_epoch_is_whole(write_examples, make_parser, labels_of):
    parser = make_parser(service="local:2")
    feed = open_feed(write_examples(range(500)), parser, parser.feed, shuffle=True)
    assert "at most once" in feed.description
    epochs = [range(500), range(500, 1000)]
    assert _epochs_of(feed, labels_of, epochs, 64) == [list(range(500))] * 2
    workers = feed.source.cluster.workers
    feed.close()
    assert [worker.returncode for worker in workers] == [0, 0]


@pytest.mark.multi_worker
@pytest.mark.slow
def test_a_killed_worker_costs_no_example(write_examples, make_parser, labels_of):
    parser = make_parser(service="local:2", service_timeout_s=5, shuffle_buffer=64)
    feed = open_feed(
        write_examples(range(2000)), parser, parser.feed, shuffle=True, augment_fn=_slow_noise
    )
    epochs = [range(2000), range(2000, 4000)]
    batches = iter(feed.batches(epochs, 16))
    fed = [next(batches) for _ in range(10)]
    feed.source.cluster.workers[0].send_signal(signal.SIGKILL)
    fed += list(batches)
    labels = labels_of(fed)
    assert sorted(labels[:2000]) == sorted(labels[2000:]) == list(range(2000))
    assert feed.source.num_missing > 0
    workers = feed.source.cluster.workers
    assert all(worker.poll() is None for worker in workers), "No worker was replaced."
    feed.close()


@pytest.mark.multi_worker
@pytest.mark.slow
def test_no_process_outlives_a_killed_trainer(tmp_path):
    program = textwrap.dedent(
        """
        import time
        from tfx_feeder.components.feeder_trainer.feed.service_cluster import ServiceCluster
        cluster = ServiceCluster(2)
        print(*(process.pid for process in [cluster._dispatcher, *cluster.workers]), flush=True)
        time.sleep(600)
        """
    )
    trainer = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    children = [int(pid) for pid in trainer.stdout.readline().split()]
    assert len(children) == 3
    trainer.kill()
    trainer.wait()
    trainer.stdout.close()
    deadline = time.monotonic() + 30
    while any(_runs(pid) for pid in children):
        assert time.monotonic() < deadline, f"Still running: {[p for p in children if _runs(p)]}"
        time.sleep(0.2)


@pytest.mark.multi_worker
@pytest.mark.slow
def test_a_service_that_is_not_there(write_examples, make_parser):
    parser = make_parser(service="grpc://localhost:1", service_timeout_s=2)
    feed = open_feed(write_examples(range(10)), parser, parser.feed, shuffle=True)
    with pytest.raises(tf.errors.OpError, match="delivered nothing for 2 s"):
        next(iter(feed.batches([range(10)], 5)))


@pytest.mark.multi_worker
@pytest.mark.slow
def test_the_command_runs_a_cluster(write_examples, make_parser, labels_of):
    def start(*arguments):
        return subprocess.Popen(
            [Path(sys.executable).with_name("tfx-feeder"), "feed-worker", *arguments],
            stdout=subprocess.PIPE,
            text=True,
        )

    dispatcher = start("--dispatcher")
    address = dispatcher.stdout.readline().split()[-1]
    worker = start("--service", address)
    try:
        assert "ready" in worker.stdout.readline()
        parser = make_parser(service=address)
        feed = open_feed(write_examples(range(100)), parser, parser.feed, shuffle=True)
        assert _epochs_of(feed, labels_of, [range(100)], 32) == [list(range(100))]
    finally:
        for process in (worker, dispatcher):
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
            process.stdout.close()


@pytest.mark.parametrize("address", [None, "localhost:%port%", "0.0.0.0:%port%"])
def test_a_port_is_not_shared_with_another_server(address):
    with socket.create_server(("", 0), reuse_port=True) as other:
        port = other.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            start_worker("grpc://localhost:1", port, address)
        with pytest.raises(OSError, match="in use"):
            start_dispatcher(port)
        done = CliRunner().invoke(main, ["feed-worker", "--dispatcher", "--port", str(port)])
    assert done.exit_code == 2
    assert done.stderr.startswith(f"Error: --port: expected a port to listen on. Received: {port}")


def _runs(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
