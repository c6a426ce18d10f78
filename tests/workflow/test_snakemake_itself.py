"""What Snakemake itself does that the workflow depends on; docs/how_it_works.md shows the consequences."""

import os
import sys
import time

import pytest

from studies import Study

COPY = """
rule all:
    input: "copy"
rule copy:
    input: %s
    output: "copy"
    shell: "cp original copy"
onsuccess:
    shell("echo done >> hook")
"""
FAIL = """
rule fail:
    output: "made"
    shell: "touch made; exit 1"
"""
LISTEN = """
import logging
from snakemake.logging import logger
class Listener(logging.Handler):
    def emit(self, record):
        with open("events", "a") as file:
            print(getattr(record, "event", None), file=file)
logger.addHandler(Listener())
rule make:
    output: "made"
    shell: "touch made"
"""
CONFIGURED = """
configfile: "own.yaml"
with open("seen", "a") as file:
    print(*sorted(config["key"]), file=file)
rule make:
    output: "made"
    run: open("made", "w").close()
"""


class Rules(Study):
    """A folder in which Snakemake runs a few rules that are none of quadrat's."""

    def command(self, rules, *arguments):
        """Return the command that runs a text of rules."""
        (self.path / "Snakefile").write_text(rules)
        return [sys.executable, "-m", "snakemake", "--cores", "1", *arguments]


@pytest.fixture
def run(tmp_path):
    """Return a function that runs Snakemake on a text of rules in a folder of its own."""
    return Rules(tmp_path).run


@pytest.fixture
def copied(run, tmp_path):
    """Return a file that was copied by a run, and is newer than its copy by now."""
    original = tmp_path / "original"
    original.write_text("bytes")
    assert run(COPY % '"original"').code == 0
    make_newer(original)
    return original


def make_newer(original):
    later = time.time() + 10
    os.utime(original, (later, later))


def test_small_file_that_is_newer_but_has_the_same_bytes_runs_no_job_and_no_hook(run, copied):
    assert run(COPY % '"original"').nothing_to_be_done
    assert (copied.parent / "hook").read_text() == "done\n"


def test_newer_input_runs_its_job_unless_it_is_ancient_whatever_the_triggers_are(run, copied):
    copied.write_text("other bytes")
    make_newer(copied)
    assert run(COPY % 'ancient("original")', "--dry-run").nothing_to_be_done
    assert (
        "Updated input files: original"
        in run(COPY % '"original"', "--dry-run", "--rerun-triggers", "code").output
    )


def test_outputs_of_a_job_that_fails_are_removed(run, tmp_path):
    (tmp_path / "made").write_text("by an earlier run")
    assert run(FAIL, "--force").code == 1
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(("quiet", "is_heard"), [("rules", True), ("progress", False)])
def test_end_of_a_job_is_heard_unless_progress_is_quiet(quiet, is_heard, run, tmp_path):
    assert run(LISTEN, "--quiet", quiet).code == 0
    assert ("job_finished" in (tmp_path / "events").read_text().split()) == is_heard


def test_jobs_are_not_given_the_option_to_replace_the_configuration(run, tmp_path):
    (tmp_path / "own.yaml").write_text("key: {a: 1}")
    (tmp_path / "other.yaml").write_text("key: {b: 2}")
    assert run(CONFIGURED, "--configfile", "other.yaml", "--replace-workflow-config").code == 0
    main, job = (tmp_path / "seen").read_text().splitlines()
    assert (main, job) == ("b", "a b")
