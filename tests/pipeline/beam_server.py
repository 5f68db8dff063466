"""A job server of Beam and a pool of its workers: `python beam_server.py BOOT`.

Prints `HOST:PORT` of both once they answer, and runs until it is terminated.
"""

import signal
import sys

from apache_beam.runners.portability.local_job_service import LocalJobServicer
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer

signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # Exit handlers end the workers.
jobs = LocalJobServicer()
port = jobs.start_grpc_server()
pool, _server = BeamFnExternalWorkerPoolServicer.start(
    use_process=True, container_executable=sys.argv[1]
)
print(f"localhost:{port}", pool, flush=True)
try:
    signal.pause()
finally:
    jobs.stop()
