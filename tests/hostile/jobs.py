"""Run the jobs of many images, each in a process of its own with limits; a program of its own, to be small.

Takes a JSON list of [arguments of the task, log] and writes a JSON list of how each job ended.
"""

import gc
import json
import os
import resource
import signal
import sys

# Imported once, by the parent of all jobs.
import pyarrow.parquet  # noqa: F401

from forking import fork
from quadrat.jobs.task import ImageTask
from quadrat.jobs.worker import run_recorded
from quadrat.settings import ReadSettings

CPU_LIMIT_S = 10
# Stops a runaway before it takes the machine along; what is measured is resident memory.
ADDRESS_LIMIT_BYTES = 16 << 30
# A job that sleeps uses no CPU time; longer than any that works takes on a busy machine.
WALL_LIMIT_S = 120


def run(arguments: dict, log: str) -> dict:
    """Run a job, and tell its exit code, seconds of CPU time and peak memory in MB."""
    child = fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_LIMIT_S, CPU_LIMIT_S))
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_LIMIT_BYTES, ADDRESS_LIMIT_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        try:
            task = ImageTask(reading=ReadSettings(patch_size=32, stride=32), **arguments)
            run_recorded(task, log, is_last_attempt=True)
        except SystemExit:
            os._exit(1)
        os._exit(0)
    signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGTERM))
    signal.alarm(WALL_LIMIT_S)
    _, status, used = os.wait4(child, 0)
    signal.alarm(0)
    return {
        "code": os.waitstatus_to_exitcode(status),
        "cpu_s": used.ru_utime + used.ru_stime,
        "memory_mb": used.ru_maxrss / 1024,
    }


if __name__ == "__main__":
    gc.freeze()  # else each child copies all pages, to look for garbage in them
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115  the jobs tell each failure
    json.dump([run(*job) for job in json.load(sys.stdin)], sys.stdout)
