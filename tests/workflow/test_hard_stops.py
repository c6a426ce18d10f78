"""Fifty hard stops of a study of 200 images: any process, any signal, and the documented command goes on."""

import os
import random
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from studies import write_image

STOPS = 50
# So many images are there at first, and so many arrive before each stop: late stops, too, find images to
# predict, to merge and to draw.
FIRST, MORE = 100, 2

SIGNALS = [
    *(signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGABRT),
    *(signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGPIPE, signal.SIGUSR1),
    signal.SIGSTOP,
]

# Seconds of the processor: planning takes 1.5, an image a third. A run that ends unstruck shortens delays.
MOST_SECONDS = 7.0
MOST_RUNS = 4 * STOPS
HANG_SECONDS = 120
TICKS = os.sysconf("SC_CLK_TCK")

# What is not the same in two runs: records of them, and Snakemake's own.
UNLIKE = (".quadrat/", "logs/", "manifest.tsv", "run.yaml", "overview.html")


def processes(run):
    """List the processes of a run, which is one session: Snakemake's own, and those of its jobs."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(ProcessLookupError):
            if os.getsid(int(name)) == run.pid:
                found.append(int(name))
    return sorted(found)


def worked(run):
    """Return how long the processors have worked for a run, in seconds."""
    ticks = 0
    for pid in processes(run):
        with suppress(FileNotFoundError, ProcessLookupError):
            # utime, stime, and for Snakemake those of the jobs that have ended: proc(5).
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11 : 15 if pid == run.pid else 13]))
    return ticks / TICKS


def wait_for_work(run, seconds):
    """Wait until a run has worked so long or has ended; return how long it had worked by then."""
    hangs = time.monotonic() + HANG_SECONDS
    seen = worked(run)
    end = seen + seconds
    while run.poll() is None and seen < end:
        assert time.monotonic() < hangs
        time.sleep(0.01)
        seen = max(seen, worked(run))
    return seen


def send(number, pids):
    """Send a signal; who is stopped by it is killed a little later."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
    if number == signal.SIGSTOP:
        time.sleep(0.2)
        send(signal.SIGKILL, pids)


def strike(run, chance):
    """Send a random signal to Snakemake, to a process of a job, or to all of them; tell which."""
    number = chance.choice(SIGNALS)
    victim = chance.choice(["snakemake", "job", "all"])
    jobs = [pid for pid in processes(run) if pid != run.pid]
    pids = {"snakemake": [run.pid], "job": [chance.choice(jobs)] if jobs else [], "all": [run.pid, *jobs]}
    send(number, pids[victim])
    return victim, number.name


def stop(study, chance, most_seconds):
    """Start a run, and strike until it has ended; return what struck it, and how long it worked before."""
    run = study.start()
    strikes = []
    before = wait_for_work(run, chance.uniform(0.1, most_seconds))
    while run.poll() is None and len(strikes) < 5:
        strikes.append(strike(run, chance))
        with suppress(subprocess.TimeoutExpired):
            run.wait(0.5)
        wait_for_work(run, chance.uniform(0.1, 2.0))
    send(signal.SIGKILL, [run.pid] if run.poll() is None else [])
    run.wait(60)
    return strikes, before


def unlock(study):
    """Do what the README says where a lock was left."""
    if any((study.path / ".snakemake/locks").glob("*")):
        unlocked = study.run("--unlock")
        assert unlocked.code == 0, unlocked.output


@pytest.fixture
def undisturbed(study):
    """Return a study of which an undisturbed run predicted and drew the images in the folder `all_images`."""
    for seed in range(FIRST + STOPS * MORE):
        write_image(study.images / f"{seed % 7}/{seed:03}.tif", seed, 64, 96)
    study.configure(maps=True)
    run = study.run()
    assert run.code == 0, run.output
    study.images.rename(study.path / "all_images")
    return study


def drop(study, first, last):
    """Let images arrive, as they were when they were taken: with their dates."""
    for path in sorted((study.path / "all_images").glob("*/*.tif"), key=lambda path: path.name)[first:last]:
        folder = study.images / path.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, folder)


def published(study):
    """Read all results that do not tell of their run; of pages, which number what is drawn, only names."""
    paths = {path.relative_to(study.results).as_posix(): path for path in study.results.rglob("*")}
    return {
        name: None if name.startswith("pages/") else path.read_bytes()
        for name, path in sorted(paths.items())
        if path.is_file() and not name.startswith(UNLIKE)
    }


@pytest.mark.long
def test_fifty_hard_stops_end_in_the_bytes_of_an_undisturbed_run(undisturbed):
    study, expected = undisturbed, published(undisturbed)
    study.results = study.path / "disturbed"
    study.configure(results="disturbed")
    chance = random.Random(8)
    drop(study, 0, FIRST)
    struck = runs = 0
    most_seconds = MOST_SECONDS
    while struck < STOPS:
        assert runs < MOST_RUNS
        drop(study, FIRST + runs * MORE, FIRST + (runs + 1) * MORE)
        strikes, before = stop(study, chance, most_seconds)
        if not strikes:
            most_seconds = min(most_seconds, before)
        struck += len(strikes)
        runs += 1
        unlock(study)
        struck_by = " and ".join(" ".join(strike) for strike in strikes)
        print(f"run {runs}: {struck_by or 'none'} after {before:.1f} s; {len(study.versions())} predicted")
    # The images of the rest of the time arrive at once.
    drop(study, FIRST + runs * MORE, FIRST + STOPS * MORE)
    finished = study.run()
    assert finished.code == 0, finished.output
    assert published(study) == expected
    assert list(study.results.rglob("*.tmp")) == []
    assert study.run().nothing_to_be_done
