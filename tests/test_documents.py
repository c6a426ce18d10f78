"""What the documents show is run by a test, fits the code, and leads somewhere."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import fields
from itertools import chain
from pathlib import Path

import pytest
import yaml

from documents import DOCUMENTS, PROJECT, blocks, commands, pieces, rows
from quadrat.config import SCHEMA, load_settings
from quadrat.plan.inventory import is_chosen
from quadrat.settings import ReadSettings
from shown import SHOWN, shown_as

CONFIG = PROJECT / "config.yaml"


def text_of(path):
    return (PROJECT / path).read_text(encoding="utf-8")


# commands


@pytest.mark.parametrize("command", {command.text: command for command in commands()}.values(), ids=str)
def test_each_command_is_shown_by_one_rule(command):
    assert len(shown_as(command)) == 1, f"{command}: which test runs it? Say so in tests/shown.py"


@pytest.mark.parametrize("shown", SHOWN, ids=lambda shown: shown.pattern)
def test_what_shows_a_command_is_there_and_is_needed(shown):
    ours = [command.text for command in commands() if shown in shown_as(command)]
    assert ours, "no document has such a command"
    assert shown.tests or shown.instead
    for test in shown.tests:
        path, _, name = test.partition("::")
        if name:
            assert re.search(rf"^def {name}\(", text_of(path), re.MULTILINE)
        elif not path.startswith("tests/"):
            assert all(command.partition(" && ")[0] in text_of(path) for command in ours)
        assert (PROJECT / path).exists()


def test_each_command_of_make_is_one_that_the_makefile_has():
    targets = re.findall(r"^([a-z-]+):.*##", text_of("Makefile"), re.MULTILINE)
    typed = {command.text.split()[1] for command in commands() if command.text.startswith("make ")}
    assert typed <= set(targets)
    assert set(targets) - {"help"} <= typed, "not in the documents"


@pytest.mark.parametrize(
    "command",
    dict.fromkeys(
        command.text
        for command in commands()
        if command.text.startswith(("snakemake", "--")) and not command.document.startswith("benchmarks")
    )
    | dict.fromkeys(re.findall(r"^# .*(snakemake --.*)$", CONFIG.read_text(), re.MULTILINE)),
)
def test_snakemake_and_the_configuration_take_the_command(command, load, monkeypatch):
    from snakemake.cli import get_argument_parser, parse_args, parse_config

    monkeypatch.chdir(PROJECT)
    words = shlex.split(command.replace("/opt/quadrat", str(PROJECT)).removeprefix("snakemake"))
    if len(words) == 1 and words[0].startswith("--"):
        assert words[0] in get_argument_parser()._option_string_actions
        return
    _, taken = parse_args(words)
    rules = "".join(path.read_text() for path in (PROJECT / "workflow/rules").glob("*.smk"))
    for rule in (*taken.targets, *taken.set_resources, *taken.set_threads):
        name = rule.removeprefix("quadrat_")  # in a workflow that quadrat is a module of
        assert re.search(rf"^(use rule \w+ as|rule|checkpoint) {name}( with)?:", rules, re.MULTILINE), rule
    if taken.workflow_profile:
        assert any(Path(place, taken.workflow_profile, "config.yaml").exists() for place in (".", "profiles"))
    load(parse_config(taken.config))


def test_all_code_is_of_a_language_whose_blocks_are_run():
    kinds = {(piece.kind, piece.language) for document in DOCUMENTS for piece in pieces(document)}
    assert {kind for kind in kinds if kind[0] in ("fence", "code_block")} == {
        ("fence", language) for language in ("sh", "console", "yaml", "python")
    }


def test_all_python_stands_where_a_test_runs_it():
    places = {block.document: set() for block in blocks("python")}
    for block in blocks("python"):
        places[block.document].add(block.heading)
    assert places.pop("docs/models.md")  # in tests/test_models_doc.py, under each heading
    # in tests/workflow/test_commands.py; in tests/test_models_doc.py
    assert places.pop("README.md") == {"What you get", "Your own model"}
    assert places.pop("docs/package.md")  # in tests/test_distribution_files.py
    assert places.pop("docs/library.md")  # in tests/test_library.py
    assert places.pop("docs/exports.md")  # in tests/workflow/test_commands.py
    assert places.pop("docs/terminal.md")  # in tests/workflow/test_module.py
    # in tests/test_examples.py
    assert set(places) == {f"examples/{name}/README.md" for name in ("great_salt_lake", "tissue")}


@pytest.fixture
def noted(tmp_path):
    """Return a function that types a command where `snakemake` only notes its folder and arguments."""
    program, notes = tmp_path / "bin/snakemake", tmp_path / "notes"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable} -IS\n"
        "import json, os, sys\n"
        f"with open({str(notes)!r}, 'a') as file: print(json.dumps([os.getcwd(), sys.argv[1:]]), file=file)\n"
    )
    program.chmod(0o755)
    cancel = program.with_name("scancel")
    cancel.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/cancelled\n')
    cancel.chmod(0o755)

    def type_(command, folder):
        path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
        subprocess.run(["bash", "-c", command], cwd=folder, env=os.environ | {"PATH": path}, check=True)
        return [json.loads(line) for line in notes.read_text().splitlines()]

    return type_


def test_parts_of_a_million_images_hold_each_of_them_once(noted, load, tmp_path):
    from snakemake.cli import parse_args, parse_config

    (loop,) = [command.text for command in commands("docs/clusters.md") if command.text.startswith("for ")]
    calls = noted(loop.replace("/opt/quadrat", str(PROJECT)), tmp_path)
    parts = [load(parse_config(parse_args(words)[1].config)) for _, words in calls]
    assert [folder for folder, _ in calls] == [f"{tmp_path}/part_{number}" for number in range(10)]
    for number in (0, 7, 19, 123_456, 999_998):
        assert sum(is_chosen(f"north/scene_{number}.tif", part) for part in parts) == 1


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("place", ["project", "study"])
def test_job_that_runs_snakemake_uses_the_profile_of_the_installation(
    place, restarted, noted, tmp_path, monkeypatch
):
    """Slurm runs a copy of the script, in the folder where it was submitted."""
    from snakemake.cli import parse_args

    typed = {one.text for one in commands() if one.text.startswith("sbatch ")}
    (command,) = (one for one in typed if ("/opt/" in one) == (place == "study"))
    _, option, script, *words = shlex.split(command.replace("/opt/quadrat", str(PROJECT)))
    assert option.startswith("--time=")
    copied = shutil.copy(PROJECT / script, tmp_path / "slurm_script")
    folder = PROJECT if place == "project" else tmp_path / "study"
    if place == "study":
        (folder / ".snakemake/log").mkdir(parents=True)
        (folder / ".snakemake/log/1.snakemake.log").write_text("SLURM run ID: its-jobs\n")
        monkeypatch.setenv("SLURM_RESTART_COUNT", str(int(restarted)))
    started = noted(shlex.join(["bash", str(copied), *words]), folder)
    handed = ["--workflow-profile", "slurm", *words]
    unlocked = [[*handed, "--unlock"]] if restarted and place == "study" else []
    assert [called for _, called in started] == [*unlocked, handed]
    monkeypatch.chdir(folder)
    _, taken = parse_args(handed)
    assert (taken.executor, [str(path) for path in taken.configfile]) == ("slurm", ["my.yaml"])


def test_packages_that_users_are_to_install_are_known():
    project = tomllib.loads(text_of("pyproject.toml"))["project"]
    wanted = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]
    known = {re.match(r"[\w-]+", requirement)[0] for requirement in wanted} | {".", "onnxruntime-gpu"}
    inline = (piece for document in DOCUMENTS for piece in pieces(document) if piece.kind == "code_inline")
    quoted = [piece.text for piece in inline]
    quoted += [path.read_text() for path in (PROJECT / "scripts").rglob("*.py")]
    packages = re.findall(r"""pip install (?!-r )["']?((?:[\w.-]+ ?)+)""", "\n".join(quoted))
    assert len(packages) > 5
    assert {package for line in packages for package in line.split()} <= known


# configurations


@pytest.fixture
def load():
    """Return a function from keys to the settings that they make together with those of config.yaml."""

    def make(keys):
        if keys.get("predictor", {}).get("kind") == "torch":
            pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
        return load_settings(yaml.safe_load(CONFIG.read_text()) | keys)

    return make


@pytest.mark.parametrize("block", blocks("yaml"), ids=lambda block: f"{block.document}:{block.line}")
def test_block_of_yaml_is_taken_by_the_configuration(block, load):
    keys = yaml.safe_load(block.text)
    given = load(keys).as_dict()
    assert {key: given[key] for key in keys} == keys


def commented(text):
    """Return the examples that a YAML file has in comments."""
    lines = [line.removeprefix("#   ") for line in text.splitlines() if line.startswith("#   ")]
    return [yaml.safe_load(part) for part in re.split(r"\n(?=\S)", "\n".join(lines))]


def test_examples_in_the_comments_of_config_yaml_are_taken_and_have_every_key(load):
    scenes, skip, *predictors = commented(CONFIG.read_text())
    load(scenes | {"channels": ["red"]})
    load(skip)
    of_kinds = yaml.safe_load(SCHEMA.read_text())["properties"]["predictor"]["anyOf"][2:]
    keys = {kind["properties"]["kind"]["enum"][0]: set(kind["properties"]) for kind in of_kinds}
    for predictor in (one["predictor"] for one in predictors):
        assert set(predictor) == keys.pop(predictor["kind"]) | ({"trust"} & set(predictor))
        torch_alone = {key: predictor.pop(key) for key in ("trust",) if key in predictor}
        for left_out in ("split", "resize"):  # a patch of another size is cut or resampled
            load({"predictor": {key: value for key, value in predictor.items() if key != left_out}})
            if torch_alone:
                load({"predictor": {"kind": "torch", "path": "model.pt2"} | torch_alone})
    assert set(keys) == {"torch"}


def test_configuration_makes_no_objects_but_runs_python_where_the_page_warns_of_it(tmp_path):
    from snakemake.common.configfile import load_configfile
    from snakemake.exceptions import WorkflowError

    file = tmp_path / "config.yaml"
    file.write_text("results: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(WorkflowError):
        load_configfile(file)
    file.write_text("results: ?1 + 1\n")
    assert load_configfile(file) == {"results": "?1 + 1"}
    (switch,) = re.findall(r"`(\w+: true)`, whatever its", " ".join(text_of("SECURITY.md").split()))
    file.write_text(f"{switch}\nresults: ?1 + 1\n")
    assert load_configfile(file) == {"results": 2}


def test_keys_that_rerun_all_images_are_those_that_change_results():
    (named,) = [you for you, predicted in rows("README.md", "What reruns, and why") if "`edge`" in you]
    assert set(re.findall(r"`(\w+)`", named)) == {field.name for field in fields(ReadSettings)}


def test_messages_name_keys_and_targets_that_there_are():
    schema = yaml.safe_load(SCHEMA.read_text())
    keys = {*schema["properties"], *schema["properties"]["skip"]["properties"]}
    keys |= {key for kind in schema["properties"]["predictor"]["anyOf"] for key in kind.get("properties", ())}
    sources = "\n".join(path.read_text() for path in (PROJECT / "scripts").rglob("*.py"))
    places = re.findall(r"\(config\.yaml: ([^(){}]+)\)", sources)
    assert len(places) > 30
    assert {key for place in places for key in re.findall(r"\w+", place)} - {"or"} <= keys
    targets = set(re.findall(r"snakemake ([a-z]+)", sources))
    rules = "".join(path.read_text() for path in (PROJECT / "workflow/rules").glob("*.smk"))
    assert targets <= set(re.findall(r"^(?:rule|use rule \w+ as) (\w+)", rules, re.MULTILINE))


def test_report_shows_as_many_images_as_documented():
    (most,) = re.findall(r"^REPORTED = (\d+)$", text_of("workflow/rules/drawings.smk"), re.MULTILINE)
    assert f"maps and pages of the first {most} images" in text_of("README.md")


def test_profile_asks_the_queue_as_often_as_the_page_says():
    seconds = yaml.safe_load(text_of("profiles/slurm/config.yaml"))["slurm-init-seconds-before-status-checks"]
    assert f"how its jobs are every {seconds} seconds" in text_of("docs/clusters.md")


@pytest.mark.parametrize("option", ["set-resources", "default-resources"])
def test_option_of_the_command_line_takes_the_place_of_the_one_of_the_profile(option, tmp_path):
    from snakemake.cli import parse_args

    rule = "predict_image:" if option == "set-resources" else ""
    (tmp_path / "config.yaml").write_text(f"{option}: ['{rule}mem_mb=8000', '{rule}runtime=240']\n")
    profile = ["--snakefile", str(PROJECT / "Snakefile"), "--workflow-profile", str(tmp_path)]
    from_profile, from_both = (
        parse_args([*profile, *more])[1] for more in ([], [f"--{option}", f"{rule}mem_mb=9000"])
    )
    options = [str(getattr(args, option.replace("-", "_"))) for args in (from_profile, from_both)]
    assert "runtime" in options[0]
    assert "runtime" not in options[1]


@pytest.mark.parametrize("name", ["slurm", "cluster-generic"])
def test_profile_is_complete_in_itself(name):
    default, profile = (yaml.safe_load(text_of(f"profiles/{one}/config.yaml")) for one in ("default", name))
    wanted = {key: value for key, value in default.items() if key not in ("cores", "resources")}
    assert {key: profile.get(key) for key in wanted} == wanted


@pytest.mark.parametrize("name", ["default", "slurm", "cluster-generic"])
@pytest.mark.parametrize(
    ("words", "line"),
    {
        "--configfile config.yaml geotiff": "--configfile geotiff: no such file",
        "--cores 2 --configfile docs": "--configfile docs: no such file",
        "-n --config patch_size=256 geotiff": "--config geotiff: not key=value",
    }.items(),
)
def test_target_after_the_configuration_is_refused_in_one_line(name, words, line, monkeypatch):
    from snakemake.cli import parse_args

    monkeypatch.chdir(PROJECT)
    typed = ["snakemake", "--workflow-profile", f"profiles/{name}", *words.split()]
    monkeypatch.setattr(sys, "argv", typed)
    with pytest.raises(SystemExit) as caught:
        parse_args(typed[1:])
    option, word = line.partition(":")[0].split()
    first = f"a target comes before the option: snakemake {word} {option} ..."
    assert caught.value.code == f"quadrat: {line}; {first}"


@pytest.mark.parametrize("name", ["default", "slurm", "cluster-generic"])
def test_target_before_the_configuration_is_taken(name, monkeypatch):
    from snakemake.cli import parse_args

    (line,) = re.findall(r"take all words after them: (snakemake .*)$", CONFIG.read_text(), re.MULTILINE)
    typed = [*line.replace("my.yaml", "config.yaml").split(), "--config", "mpp=1", "--cores", "1"]
    monkeypatch.chdir(PROJECT)
    monkeypatch.setattr(sys, "argv", typed)
    _, taken = parse_args([*typed[1:], "--workflow-profile", f"profiles/{name}"])
    assert (taken.targets, taken.configfile) == (["geotiff"], [Path("config.yaml")])


def test_lines_to_take_the_comment_off_put_as_many_images_into_a_job_as_documented():
    paragraphs = text_of("profiles/slurm/config.yaml").split("\n\n")
    (lines,) = [paragraph for paragraph in paragraphs if "from these four lines" in paragraph]
    keys = yaml.safe_load("\n".join(line.removeprefix("# ") for line in lines.splitlines()[-4:]))
    assert keys["groups"] == {"predict_image": "images"}
    counts_named = re.findall(
        r"lines for (\d+) images a job|put (\d+) images into a job", lines + text_of("docs/clusters.md")
    )
    assert {count for counts in counts_named for count in counts if count} == {
        str(keys["group-components"]["images"])
    }
    assert len(counts_named) == 2


# links


def anchors(document):
    """Return what links can name within a document, as its readers' programs derive it from the headings."""
    headings = [piece.text.lower() for piece in pieces(document) if piece.kind == "heading"]
    return {re.sub(r"[^\w -]", "", heading).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document):
    for link in (piece.text for piece in pieces(document) if piece.kind == "link"):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (PROJECT / document).parent / path if path else PROJECT / document
        assert target.exists(), link
        assert not anchor or anchor in anchors(os.path.relpath(target, PROJECT)), link


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_of_the_project_that_a_document_names_are_there(document):
    spoken = [piece.text for piece in pieces(document) if piece.kind == "code_inline"]
    named = [text for text in spoken if re.fullmatch(r"[\w.]+(/[\w.]+)+\.(py|smk|svg|yaml|yml)", text)]
    places = [PROJECT, PROJECT / "scripts/quadrat", (PROJECT / document).parent]
    assert [name for name in named if not any((place / name).exists() for place in places)] == []


def test_way_to_the_line_that_decodes_a_tile_leads_from_file_to_file():
    way = text_of("docs/how_it_works.md").partition("\nTen files, ")[2]
    steps = [re.findall(r"`([^`]+)`", step) for step in re.findall(r"^\d+\. (?:.|\n )+", way, re.MULTILINE)]
    assert len(steps) == 10
    for file, *names in steps:
        path = PROJECT / file if (PROJECT / file).exists() else PROJECT / "scripts/quadrat" / file
        text = path.read_text(encoding="utf-8")
        assert [name for name in names if name.partition("(")[0] not in text] == [], file
