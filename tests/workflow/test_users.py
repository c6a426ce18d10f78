"""Several users of one results folder, as which root can run: they need no account."""

import os
import subprocess

import pytest

from studies import Run, write_image

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run as other users")

# The interpreter and the project may lie where only root can look; nothing beyond reading is granted.
READING = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
GROUP, FIRST, SECOND, STRANGER = 20000, 10001, 10002, 10003


def run_as(study, user, group=GROUP):
    """Run a study as a user whose new files are open to the group."""
    home = study.path.parent / str(user)
    home.mkdir()
    os.chown(home, user, group)
    identity = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", *READING]
    done = subprocess.run(
        [*identity, *study.command()],
        cwd=study.path,
        env=os.environ | {"USER": f"u{user}", "HOME": str(home)},
        umask=0o002,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return Run(done.returncode, done.stdout, study.logs()[-1].read_text())


def test_a_group_goes_on_with_the_results_of_another_user_and_others_are_refused_in_one_line(study):
    write_image(study.images / "a.tif", 0)
    os.chown(study.path, FIRST, GROUP)
    study.path.chmod(0o2775)
    first = run_as(study, FIRST)
    assert (first.code, first.predicted) == (0, 1), first.output
    assert "warning:" not in first.output

    second = run_as(study, SECOND)
    assert second.code == 0, second.output
    assert second.nothing_to_be_done
    assert "warning: results: belongs to another user" in second.output

    stranger = run_as(study, STRANGER, group=GROUP + 1)
    assert stranger.code == 1
    assert "Traceback" not in stranger.output
    message = f"quadrat: {study.path}/.snakemake: cannot be written: Permission denied"
    assert stranger.output.splitlines()[-1] == message
