"""Questions to Snakemake itself, and what quadrat does when a run of it starts and ends.

Nothing else in the library imports Snakemake, and rules ask it through `SnakemakeRun`. A new Snakemake may
need changes here and in `quadrat.run.terminal`, which reads its log events, and nowhere else.
"""

import atexit
import errno
import gc
import inspect
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, wraps
from operator import attrgetter
from pathlib import Path
from typing import Any

import snakemake
from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

from quadrat.config import load_settings
from quadrat.errors import QuadratError, WriteError
from quadrat.files.locks import RunLock
from quadrat.files.text import counted, show, visible
from quadrat.plan.plan import Plan, is_merged, make_plan, read_plan, remove_other_mark
from quadrat.plan.trial import awaited_trial, forget_trials
from quadrat.results.folder import ResultsFolder
from quadrat.run.diagnosis import diagnose
from quadrat.run.summary import summarise
from quadrat.run.terminal import FAILED, Terminal

FOLDER = str(Path(__file__).resolve().parents[2])


class SnakemakeRun:
    """A run of the workflow: its settings and plan, and the answers of Snakemake that rules need.

    Parameters
    ----------
    workflow : snakemake.workflow.Workflow
    config : dict
        The configuration, as Snakemake merged it.
    terminal : Terminal
        Shows the run.

    Attributes
    ----------
    settings : Settings
    results : ResultsFolder
    at_end : list of callable
        Functions to call when a run is over, however it ended.

    Raises
    ------
    SystemExit
        With one line, if the configuration is wrong, the results folder cannot be used, or this version of
        Snakemake lacks an attribute that quadrat uses.
    """

    def __init__(self, workflow: Any, config: dict[str, Any], terminal: Terminal):
        self._workflow = workflow
        self._terminal = terminal
        self._started = time.monotonic()
        self._plan: Plan | None = None
        self._lock: RunLock | None = None  # held until the process ends
        self._must_succeed = False
        self.at_end: list[Callable[[], None]] = []
        lend_to_jobs()
        # Snakemake makes millions of objects for thousands of images and drops few: looking for garbage as
        # often as Python does by default takes a sixth of planning. gc.freeze() after planning saves less.
        gc.set_threshold(200_000, 50, 100)
        with _in_one_line():
            self.settings = load_settings(self._layered(config))
            self.results = ResultsFolder(self.settings.results)
        self._refuse_prefix()

    def begin(self) -> None:
        """Check the results folder, and let Snakemake show the run; once in a process."""
        with _in_one_line():
            self._set_as(*map(self._terminal.named, ("try_predictor", "predict_image")))
            # In the process of a job on a cluster too: Snakemake retries there as well.
            logger.addHandler(RefusalHandler(self._workflow, self.results.refusal))
            if self.is_main_process:
                if not os.access(".snakemake" if os.path.exists(".snakemake") else ".", os.W_OK):
                    raise WriteError(f"{os.getcwd()}/.snakemake", PermissionError(errno.EACCES, ""))
                self.results.check()
        if self.is_main_process:
            with _needed("workflow.execute"):
                self._workflow.execute = self._shown(self._workflow.execute)

    def _refuse_prefix(self) -> None:
        """Refuse a `prefix` of the module: it moves what Snakemake expects, and not what jobs write."""
        mark = self.results.merge_mark
        moved = self._ask("modifier.path_modifier.replace_prefix")(mark)
        if moved != mark:
            raise SystemExit(
                "quadrat: a module of quadrat takes no prefix and no replace_prefix for its results; name "
                f'their folder in its config, as "results": "{os.path.dirname(moved)}"'
            )

    def _ask(self, name: str) -> Any:
        """Return an attribute of the workflow, or one of its attribute's."""
        with _needed(f"workflow.{name}"):
            return attrgetter(name)(self._workflow)

    def _set_as(self, rule: str, other: str) -> None:
        """Let the resources that a profile or command line sets for a rule apply to another rule, too."""
        resources = self._ask("resource_settings._parsed_overwrite_resources")
        if other in resources:
            both = {**resources[other], **resources.get(rule, {})}
            resources[rule] = type(resources[other])(both)

    def _layered(self, config: dict[str, Any]) -> dict[str, Any]:
        """Return the configuration: top-level keys of a later file, or of --config, replace earlier ones.

        Snakemake merges mappings key by key: it would mix the keys of `skip` or `predictor` of two files.
        """
        if _is_module(self._workflow):
            return config  # made by the workflow that quadrat is a module of
        if self._ask("config_settings.replace_workflow_config"):
            raise SystemExit(
                "quadrat: --replace-workflow-config: Snakemake does not hand it to jobs; "
                "move config.yaml away instead"
            )
        with _needed("snakemake.common.configfile.load_configfile"):
            from snakemake.common.configfile import load_configfile
        given = self._ask("config_settings.configfiles")
        own = self._ask("configfiles")[len(given) :]
        layers = [*map(load_configfile, [*own, *given]), self._ask("config_settings.config")]
        return {key: layer[key] for layer in layers for key in layer}

    @property
    def is_main_process(self) -> bool:
        """Whether this process is the run itself, not one of its jobs."""
        return self._ask("is_main_process")

    @property
    def is_executed(self) -> bool:
        """Whether jobs are executed or rehearsed, rather than shown in a report, a graph or a list."""
        return self._ask("executor_plugin") is not None

    @property
    def is_run(self) -> bool:
        """Whether jobs are executed, rather than rehearsed or shown."""
        return self.is_executed and not self._ask("dryrun")

    @property
    def is_forced(self) -> bool:
        """Whether jobs are executed although their outputs exist."""
        return bool(self._ask("dag_settings.forceall") or self._ask("dag_settings.forcerun"))

    @cached_property  # asked for every job
    def shares_cores(self) -> bool:
        """Whether jobs share `cores`: not on a cluster, where a job is given the cores of its node."""
        return self.is_main_process and self._ask("local_exec")

    @cached_property
    def cores(self) -> int:
        """Number of cores that the run may use."""
        return self._ask("resource_settings.cores") or 1

    def plan(self) -> Plan:
        """Return the plan. The main process makes it, once; other processes read it."""
        if self._plan is None:
            with _in_one_line():
                self._plan = self._make_plan() if self.is_main_process else read_plan(self.settings)
        return self._plan

    @cached_property  # asked for every job
    def awaited_trial(self) -> list[str]:
        """The mark of the trial that jobs wait for, if any; processes of jobs need none."""
        return awaited_trial(self.plan()) if self.is_main_process else []

    def _make_plan(self) -> Plan:
        if not self.is_run:
            return make_plan(self.settings, show)
        self._lock = RunLock(self.results.lock)
        for line in self.results.sharing():
            show(line)
        self.results.remove_leftovers()
        made = make_plan(self.settings, show)
        remove_other_mark(made)
        forget_trials(made)
        self._terminal.expect(made)
        return made

    def must_succeed(self, wildcards: Any) -> list[str]:
        """Make the run fail if an image failed, unless `on_failure` is report; adds no input."""
        self._must_succeed = self.settings.on_failure == "fail"
        return []

    def _shown(self, execute: Callable) -> Callable:
        """Let Snakemake execute the run, and show how it ends, also where Snakemake calls no hook.

        A run whose images failed ends by an exception, as one whose jobs failed. A job that fails for them
        would start a process in each run.
        """

        @wraps(execute)
        def execute_and_show(*arguments: Any, **options: Any) -> None:
            self._take_signals()
            self._terminal.is_executing = True
            logger.addHandler(self._terminal)
            try:
                execute(*arguments, **options)
            except WorkflowError:
                self._show_end(is_whole=False)
                raise
            except BaseException:  # its traceback comes first
                atexit.register(self._show_end, is_whole=False, folder=os.getcwd())
                raise
            failed = self._show_end(is_whole=True)
            if failed and self._must_succeed:
                raise WorkflowError(f"{counted(failed, 'image')} {FAILED}")
            self._terminal.is_executing = False  # Snakemake may go on with a report

        return execute_and_show

    def _take_signals(self) -> None:
        """Handle a signal to end in a thread, from the hook of Snakemake before the first job.

        Snakemake calls the hooks of the main Snakefile alone, which quadrat may be a module of.
        """
        hook = self._ask("_onstart")

        def on_start(log: Any) -> None:
            handle_in_thread(signal.SIGTERM)
            hook(log)

        self._workflow._onstart = on_start

    def _show_end(self, is_whole: bool, folder: str | None = None) -> int:
        """Show how a run in a folder ended, and where its log is; return the number of images that failed."""
        if folder:
            os.chdir(folder)
        terminal = self._terminal
        terminal.close()
        logger.removeHandler(terminal)
        if self._plan is not None and self._ask("dryrun"):
            terminal.show_rehearsal()
        if self._plan is None or not self.is_run:
            return 0
        for clean_up in self.at_end:
            clean_up()
        obstacles = [] if is_whole else diagnose(self._plan, [self.results.path, ".snakemake"])
        is_complete = is_merged(self._plan)
        # Snakemake's own refusal to begin, such as for its lock, is all that there is to show.
        if is_whole or terminal.has_begun or obstacles or not is_complete:
            seconds = time.monotonic() - self._started
            lines = summarise(self._plan, seconds, terminal.shown, terminal.named) + obstacles
            for log in self._ask("logger_manager.get_logfile")():
                lines.append(f"Snakemake's log: {terminal.shown(os.path.relpath(log))}")
            for line in lines:
                show(line)
        return self.results.read_merged()["summary"]["failed"] if is_complete else 0


def open_run(workflow: Any, config: dict[str, Any], terminal: Terminal) -> SnakemakeRun:
    """Return the run of a results folder.

    Snakemake reads the Snakefile once, but that of a module once for each statement that uses its rules.

    Parameters
    ----------
    workflow, config, terminal
        See `SnakemakeRun`.

    Returns
    -------
    SnakemakeRun
        The same for each reading with the same configuration.

    Raises
    ------
    SystemExit
        With one line; see `SnakemakeRun`. Also if another configuration has the same results folder.
    """
    run = SnakemakeRun(workflow, config, terminal)
    runs = vars(workflow).setdefault("quadrat_runs", {})
    first = runs.setdefault(os.path.realpath(run.settings.results), run)
    if first.settings != run.settings:
        raise SystemExit(
            f"quadrat: results {run.settings.results}: two modules of quadrat with different configurations "
            "would write there; name another folder in one of them (results)"
        )
    if first is run:
        run.begin()
    return first


class RefusalHandler(logging.Handler):
    """Keeps Snakemake from trying a trial again that refused the configuration.

    Parameters
    ----------
    workflow : snakemake.workflow.Workflow
    refusal : str
        The file that such a trial leaves.
    """

    def __init__(self, workflow: Any, refusal: str):
        super().__init__()
        self._workflow, self._refusal = workflow, refusal

    # Any: Snakemake gives its records attributes that the records of logging lack.
    def emit(self, record: Any) -> None:
        """Take the retries of a job that failed and left a refusal; no other job runs until it is over."""
        if getattr(record, "event", None) == "job_error" and os.path.exists(self._refusal):
            self._workflow.get_rule(record.rule_name).restart_times = 0


def open_terminal(workflow: Any) -> Terminal:
    """Return the terminal of a run, in which Snakemake shows few lines of its own from now on.

    Snakemake shows all of them if it is asked for more than usual, and in another workflow that quadrat is a
    module of. A setting that this version of Snakemake lacks must not end the run.

    Parameters
    ----------
    workflow : snakemake.workflow.Workflow
        While its Snakefile is read.

    Returns
    -------
    Terminal
    """
    settings = getattr(workflow, "output_settings", None)
    quiet = {getattr(one, "name", "") for one in getattr(settings, "quiet", None) or ()}
    is_module = _is_module(workflow)

    def shown(path: str) -> str:
        """Return a path as it is right where the command was typed."""
        if is_module:  # the other workflow may have gone to another folder
            return os.path.abspath(path)
        return os.path.normpath(os.path.join(getattr(workflow, "overwrite_workdir", None) or "", path))

    with _needed("workflow.modifier.modify_rulename"):
        named = workflow.modifier.modify_rulename
    stream = sys.stdout if getattr(settings, "stdout", False) else sys.stderr
    terminal = Terminal(stream, shown, named, has_progress=not quiet & {"ALL", "PROGRESS"})
    own = [handler for handler in logger.handlers if handler.name == "DefaultStreamHandler"]
    asks_for_more = any(
        getattr(settings, name, True)
        for name in ("verbose", "printshellcmds", "debug_dag", "show_failed_logs")
    )
    if own and not is_module and not asks_for_more:
        terminal.hush(own[0])
    return terminal


def _is_module(workflow: Any) -> bool:
    """Return whether quadrat is a module of another workflow, while its Snakefile is read."""
    with _needed("workflow.modifier.is_main_snakefile"):
        return not workflow.modifier.is_main_snakefile()


@contextmanager
def _in_one_line() -> Iterator[None]:
    """End the process with the line of an error; the system's names the file."""
    try:
        yield
    except (QuadratError, OSError) as error:
        raise SystemExit(visible(f"quadrat: {error}")) from error


@contextmanager
def _needed(name: str) -> Iterator[None]:
    """End the process with one line if this Snakemake lacks something."""
    try:
        yield
    except (AttributeError, ImportError) as error:
        raise SystemExit(
            f"quadrat: Snakemake {snakemake.__version__} has no {name}, which quadrat uses; "
            "install the version in envs/run.lock"
        ) from error


def asked_once(function: Callable) -> Callable:
    """Let Snakemake look up the parameters of a function once, and not for each of its calls."""
    with _needed("snakemake.common.overwrite_function_params"):
        from snakemake.common import overwrite_function_params
    parameters: Any = inspect.signature(function).parameters
    overwrite_function_params(function, parameters)
    return function


def lend_to_jobs() -> None:
    """Make processes that this one starts import this copy of the library, whatever quadrat is installed.

    Snakemake itself puts a script's folder last on Python's search path.
    """
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != FOLDER]
    os.environ["PYTHONPATH"] = os.pathsep.join([FOLDER, *others])


def handle_in_thread(number: int) -> None:
    """Have the handler of a signal called in a thread of its own.

    Python calls it in the middle of what the main thread does. Snakemake's handler of SIGTERM takes a lock
    that the main thread may hold, and then waits for it forever.

    Parameters
    ----------
    number : int
        A signal that has a handler of Python's.
    """
    handler: Any = signal.getsignal(number)
    signal.signal(number, lambda *received: threading.Thread(target=handler, args=received).start())
