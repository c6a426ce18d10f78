"""Fifty hard stops of a study of 200 images: any process, any signal, and the documented command goes on."""

import os
import random
import shutil
import signal
import time
from contextlib import suppress

import pytest

from studies import write_image

IMAGES = 200
# So many are there at the beginning, and two more arrive before each stop: late stops, too, find images to
# predict, to merge and to draw.
FIRST = 100
STOPS = 50

SIGNALS = [
    *(signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGABRT),
    *(signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGPIPE, signal.SIGUSR1),
    signal.SIGSTOP,
]


def processes(run):
    """List the processes of a run, which is one session: Snakemake's own, and those of its jobs."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(ProcessLookupError):
            if os.getsid(int(name)) == run.pid:
                found.append(int(name))
    return sorted(found)


def send(number, pids):
    """Send a signal; who is stopped by it is killed a little later."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
    if number == signal.SIGSTOP:
        time.sleep(0.2)
        send(signal.SIGKILL, pids)


def strike(run, chance):
    """Send a random signal to Snakemake, to one process of its jobs, or to all; tell which."""
    number = chance.choice(SIGNALS)
    victim = chance.choice(["snakemake", "job", "all"])
    jobs = [pid for pid in processes(run) if pid != run.pid]
    pids = {"snakemake": [run.pid], "job": [chance.choice(jobs)] if jobs else [], "all": [run.pid, *jobs]}
    send(number, pids[victim])
    return victim, number.name


def stop(study, chance):
    """Start a run, strike at random moments until it ends, and tell what struck it."""
    run = study.start()
    strikes = []
    for seconds in (chance.uniform(0.1, 4.5), *(chance.uniform(0.1, 2.0) for _ in range(4))):
        time.sleep(seconds)
        if run.poll() is not None:
            break
        strikes.append(strike(run, chance))
    if run.poll() is None:
        send(signal.SIGKILL, [run.pid])
    run.wait(60)
    return strikes


def unlock(study):
    """Do what the README says where a lock was left."""
    if any((study.path / ".snakemake/locks").glob("*")):
        unlocked = study.run("--unlock")
        assert unlocked.code == 0, unlocked.output


@pytest.fixture
def undisturbed(study):
    """Give a study, in whose folder `all_images` is what an undisturbed run has predicted and drawn."""
    for seed in range(IMAGES):
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
    """Read all that a user finds in the results, but for records of software, duration and folders."""
    found = {}
    for path in sorted(study.results.rglob("*")):
        name = path.relative_to(study.results).as_posix()
        if path.is_file() and not name.startswith((".quadrat/", "logs/", "manifest.tsv", "run.yaml", "overview")):
            found[name] = path.read_bytes()
    return found


@pytest.mark.long
def test_fifty_hard_stops_end_in_the_bytes_of_an_undisturbed_run(undisturbed):
    study, expected = undisturbed, published(undisturbed)
    study.results = study.path / "disturbed"
    study.configure(results="disturbed")
    chance = random.Random(8)
    drop(study, 0, FIRST)
    for number in range(STOPS):
        there = FIRST + number * (IMAGES - FIRST) // STOPS
        drop(study, there, there + (IMAGES - FIRST) // STOPS)
        strikes = stop(study, chance)
        unlock(study)
        print(f"stop {number}: {strikes}; {len(study.versions())} predicted")
    finished = study.run()
    assert finished.code == 0, finished.output
    assert published(study) == expected
    assert not list(study.results.rglob("*.tmp"))
    assert study.run().nothing_to_be_done
