import io
import logging
import os
import signal
import threading
from pathlib import Path

import pytest
import snakemake
from snakemake.api import Workflow
from snakemake.logging import logger
from snakemake.path_modifier import PathModifier
from snakemake.settings.types import (
    ConfigSettings,
    OutputSettings,
    ResourceSettings,
    StorageSettings,
    WorkflowSettings,
)
from snakemake.sourcecache import LocalSourceFile

from quadrat.run.snakemake import open_run, open_terminal

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def make_workflow(tmp_path, monkeypatch):
    """Return a function that makes Snakemake's workflow, as it is before planning, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "")

    def make(own_files=(), **configured):
        workflow = Workflow(
            config_settings=ConfigSettings(**configured),
            resource_settings=ResourceSettings(cores=3),
            workflow_settings=WorkflowSettings(),
            logger_manager=None,
            storage_settings=StorageSettings(),
        )
        workflow._included["Snakefile"] = LocalSourceFile(str(PROJECT / "Snakefile"))
        workflow.configfiles += own_files
        return workflow

    return make


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def start(workflow, config):
    """Make a run of a workflow as the Snakefile does."""
    return open_run(workflow, config, open_terminal(workflow))


def test_a_key_of_a_later_file_replaces_the_same_key_of_earlier_ones_as_a_whole(make_workflow, write):
    own = write("config.yaml", "patch_size: 64\npredictor: {kind: statistics, of: max, bins: 4}\nedge: pad\n")
    mine = write("mine.yaml", "predictor: {kind: statistics, of: min}\n")
    workflow = make_workflow([own], configfiles=[mine], config={"edge": "drop"})
    settings = start(workflow, {"edge": "a mixture that Snakemake made"}).settings
    assert settings.patch_size == 64
    assert settings.predictor["of"] == "min"
    assert settings.predictor.get("bins") is None
    assert settings.reading.edge == "drop"


@pytest.mark.parametrize("asked", ["", "verbose", "printshellcmds", "a setting of another Snakemake"])
def test_snakemake_shows_all_of_its_lines_if_it_is_asked_to(make_workflow, asked):
    own = io.StringIO()
    handler = logging.StreamHandler(own)
    handler.name = "DefaultStreamHandler"
    logger.addHandler(handler)
    workflow = make_workflow()
    workflow.output_settings = None if " " in asked else OutputSettings(**{asked: True} if asked else {})
    try:
        open_terminal(workflow).is_executing = True
        logger.warning("a warning")
        logger.setLevel("INFO")
        logger.info("Select jobs to execute...")
    finally:
        logger.removeHandler(handler)
    assert own.getvalue() == "a warning\n" + ("Select jobs to execute...\n" if asked else "")


def test_a_host_that_includes_quadrat_as_a_module_hands_its_configuration_over(host, write):
    host.configfiles.append(write("config.yaml", "patch_size: 64\n"))
    assert start(host, {"patch_size": 32}).settings.patch_size == 32


@pytest.fixture
def host(make_workflow):
    """Return the workflow that quadrat is a module of."""
    workflow = make_workflow()
    workflow.modifier.base_snakefile = "Snakefile"
    return workflow


def test_a_module_whose_snakefile_is_read_again_has_one_run_per_results_folder(host):
    first = start(host, {"results": "r"})
    assert start(host, {"results": "r", "patch_size": 512}) is first
    assert start(host, {"results": "other"}) is not first
    with pytest.raises(SystemExit, match=r"^quadrat: results \./r: two modules .* \(results\)$"):
        start(host, {"results": "./r", "patch_size": 256})


def test_a_signal_to_end_is_handled_in_a_thread_and_the_hook_of_the_host_is_called(host):
    called, threads, ended = [], [], threading.Event()

    def execute():
        # Snakemake's handler is there when it calls its hook.
        signal.signal(signal.SIGTERM, lambda *_: (threads.append(threading.current_thread()), ended.set()))
        host._onstart("its log")
        os.kill(os.getpid(), signal.SIGTERM)

    host.execute, host._onstart = execute, called.append
    start(host, {})
    before = signal.getsignal(signal.SIGTERM)
    try:
        host.execute()
        assert ended.wait(10)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert called == ["its log"]
    assert threads != [threading.main_thread()]


@pytest.mark.parametrize(
    ("prefixes", "folder"), [((None, "sub"), "sub/results"), (({"results/": "far/"}, None), "far")]
)
def test_a_module_whose_results_a_prefix_would_move_is_refused_in_one_line(host, prefixes, folder):
    host.modifier.path_modifier = PathModifier(*prefixes, host)
    with pytest.raises(SystemExit) as ended:
        start(host, {})
    assert ended.value.code.endswith(f'name their folder in its config, as "results": "{folder}"')
    assert start(host, {"results": "/elsewhere"})  # which Snakemake does not move


def test_a_wrong_configuration_ends_the_process_with_one_line(make_workflow):
    with pytest.raises(
        SystemExit, match=r"^quadrat: patch_size is 0; it must be .*\(config.yaml: patch_size\)"
    ):
        start(make_workflow(config={"patch_size": 0}), {})


def test_a_folder_that_cannot_be_written_to_ends_the_process_with_one_line(make_workflow, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write everywhere
    with pytest.raises(SystemExit, match=r"^quadrat: .*/\.snakemake: cannot be written: Permission denied"):
        start(make_workflow(), {})


def test_a_snakemake_without_an_attribute_that_is_used_is_named_in_one_line(make_workflow):
    assert start(make_workflow(), {}).cores == 3
    workflow = make_workflow()
    run = start(workflow, {})
    del workflow.resource_settings
    with pytest.raises(SystemExit) as ended:
        _ = run.cores
    version = snakemake.__version__
    assert str(ended.value) == (
        f"quadrat: Snakemake {version} has no workflow.resource_settings.cores, which quadrat uses; "
        "install the version in envs/run.lock"
    )


def test_a_snakemake_without_a_private_function_that_is_used_is_named_in_one_line(monkeypatch):
    from quadrat.run.snakemake import asked_once

    monkeypatch.delattr("snakemake.common.overwrite_function_params")
    with pytest.raises(SystemExit, match=r"has no snakemake\.common\.overwrite_function_params, which"):
        asked_once(lambda wildcards: [])
