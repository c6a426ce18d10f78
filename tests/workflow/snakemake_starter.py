"""Run Snakemake again and again, each time in a new child of this process, which has imported it; a program.

To import Snakemake takes longer than most runs. Nothing of quadrat is imported here: each run does that itself.
Reads a line of JSON a run, [arguments, folder, environment, file that takes what it says], and writes its exit code.
"""

import json
import os
import signal
import sys

from snakemake.cli import main

WALL_LIMIT_S = 300


def become_snakemake(arguments: list[str], folder: str, environment: dict[str, str], output: str) -> None:
    """Be what `python -m snakemake` is when it has been started in a folder."""
    signal.alarm(WALL_LIMIT_S)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:1] = [folder, *filter(None, environment["PYTHONPATH"].split(os.pathsep))]
    sys.argv = ["snakemake", *arguments]
    terminal = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream, file in ((0, os.open(os.devnull, os.O_RDONLY)), (1, terminal), (2, terminal)):
        os.dup2(file, stream)
    main()


for line in sys.stdin:
    child = os.fork()
    if child == 0:
        become_snakemake(*json.loads(line))
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
