"""Run Snakemake again and again, each time in a new child of this process, which has imported it; a program.

To start Snakemake takes longer than most runs. Nothing of quadrat is imported: each run does that itself.
Reads a line of JSON a run, [arguments, folder, environment, file that takes its output], and writes the exit
code of each.
"""

import gc
import json
import os
import signal
import sys

import smart_open  # noqa: F401  what Snakemake imports when it reads the first file of a workflow
from snakemake.cli import get_argument_parser, main

from forking import fork

WALL_LIMIT_S = 300


def become_snakemake(arguments: list[str], folder: str, environment: dict[str, str], output: str) -> None:
    """Do what `python -m snakemake` does in a folder, and exit."""
    signal.alarm(WALL_LIMIT_S)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:1] = [folder, *filter(None, environment["PYTHONPATH"].split(os.pathsep))]
    sys.argv = ["snakemake", *arguments]
    terminal = os.open(output, os.O_WRONLY)
    for stream, file in ((0, os.open(os.devnull, os.O_RDONLY)), (1, terminal), (2, terminal)):
        os.dup2(file, stream)
    main()


get_argument_parser()  # imports all plugins
gc.freeze()  # else each child copies all pages, to look for garbage in them
for line in sys.stdin:
    child = fork()
    if child == 0:
        become_snakemake(*json.loads(line))
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
