"""What shows that commands of the documents do what they say: the test that types them, or what stands in."""

import re
from typing import NamedTuple

from documents import Piece, commands


class Shown(NamedTuple):
    """Commands of a pattern, and what shows them.

    Tests are given as pytest names them, or by their file; `.ci/run`, `Makefile` and the workflows of CI
    hold the command themselves. It is typed as its document has it, unless `instead` says what is done in
    its place, or why nothing is.
    """

    pattern: str
    tests: tuple[str, ...]
    instead: str = ""


COMMANDS = "tests/workflow/test_commands.py"
DOCUMENTS = "tests/test_documents.py"
INTERRUPTIONS = "tests/workflow/test_interruptions.py"
EXAMPLES = "tests/test_examples.py"
SLURM = "tests/cluster/test_slurm.py"
CONTAINER = "tests/installation/test_container.py"
OPTIONS = f"{DOCUMENTS}::test_snakemake_and_the_configuration_take_the_command"

SHOWN = (
    # what developers type
    Shown(r"make (install( && \. \.venv/bin/activate)?|lint|test|test-long|demo|torch)", (".ci/run",)),
    Shown(r"make dist", (".github/workflows/ci.yml",)),
    Shown(r"make container", (".github/workflows/weekly.yml",)),
    Shown(
        r"make container DOCKER=podman|docker (build|run) .*",
        (f"{CONTAINER}::test_image_is_built_and_predicts_the_images_of_the_first_run",),
        "is typed with another base and in another folder there",
    ),
    Shown(
        r"docker save .*|podman .*|apptainer .*|python -m pip install .*",
        (),
        "was typed by hand: it needs an engine and several minutes",
    ),
    Shown(r"conda .*", (), "was never typed: the channels of conda were out of reach"),
    Shown(r"make install PYTHON=\S+", ("tests/installation/test_installation.py",)),
    Shown(
        r"git (tag|push) .*|\.venv/bin/(twine upload|pre-commit install).*",
        (),
        "publishes a release, or changes the checkout of whoever types it",
    ),
    Shown(
        r"make bench|\.venv/bin/python benchmarks/run\.py .*|--large|--(size|images|computed|side) \d+",
        ("tests/test_benchmarks.py",),
        "takes too long: its programs measure small images",
    ),
    Shown(r"python benchmarks/cluster\.py", (), "brings up a cluster of its own, and takes minutes"),
    Shown(
        r"make (lock|coverage|test-oldest|test-newest)",
        (),
        "asks the package index for what is newest, or runs these tests",
    ),
    Shown(
        r"pip install .*|hf download .*",
        (f"{DOCUMENTS}::test_packages_that_users_are_to_install_are_known",),
        "would change the environment of the tests",
    ),
    # one machine
    Shown(r"snakemake --cores all", (f"{COMMANDS}::test_sample_is_predicted_as_its_page_shows",)),
    Shown(r"snakemake [a-z]+", (f"{COMMANDS}::test_targets_give_what_the_documents_name",)),
    Shown(r"snakemake --report \S+", (f"{COMMANDS}::test_report_is_one_file_that_shows_each_image",)),
    Shown(
        r"snakemake --unlock",
        (
            f"{INTERRUPTIONS}::test_killed_alone_its_orphans_do_no_harm",
            f"{SLURM}::test_after_kill_9_the_documented_recovery_submits_nothing_twice",
        ),
        "is told where the workflow stands",
    ),
    Shown(
        r"snakemake --cores 8 --config images=/data/my_images",
        (f"{COMMANDS}::test_images_of_ones_own_are_predicted_and_read_in_a_notebook",),
    ),
    Shown(
        r"find /data .*|snakemake -s \S+ --cores 8 --config images=slides\.txt",
        (f"{COMMANDS}::test_slides_that_find_lists_are_predicted_from_a_folder_without_a_configuration",),
    ),
    Shown(
        r"snakemake --cores all --config edge=pad",
        (OPTIONS, "tests/test_grid.py::test_padding_loses_no_pixel"),
        "differs from other runs in that key alone",
    ),
    Shown(
        r"--config(file)?|--default-resources|--resources gpu=\d|--set-(resources|threads)( [a-z_:]+=\d+)?",
        (OPTIONS,),
        "is a part of a command",
    ),
    Shown(
        r"--replace-workflow-config|--rerun-triggers( mtime)?|--quiet progress",
        ("tests/workflow/test_snakemake_itself.py",),
        "is what that test gives to rules of its own",
    ),
    Shown(
        r"--dry-run|--verbose|--printshellcmds",
        ("tests/run/test_snakemake.py::test_snakemake_shows_all_of_its_lines_if_it_is_asked_to", OPTIONS),
        "is a part of a command",
    ),
    # clusters
    Shown(
        r"snakemake --workflow-profile profiles/slurm",
        (f"{SLURM}::test_what_changed_is_all_that_is_submitted_and_the_bytes_are_those_of_one_machine",),
        "asks for less memory, which the nodes of the tests lack",
    ),
    Shown(
        r"snakemake --workflow-profile profiles/slurm --configfile my\.yaml --dry-run",
        (f"{COMMANDS}::test_rehearsal_shows_what_a_cluster_would_be_given",),
    ),
    Shown(
        r"snakemake --workflow-profile profiles/slurm --configfile my\.yaml --config 'include=.*",
        (OPTIONS, "tests/plan/test_inventory.py::test_include_and_exclude_choose_by_filename"),
        "differs from other runs in that key alone",
    ),
    Shown(
        r"snakemake geotiff --configfile my\.yaml",
        (f"{DOCUMENTS}::test_target_before_the_configuration_is_taken", OPTIONS),
        "is read, and not run",
    ),
    Shown(r"\. /opt/quadrat/\.venv/bin/activate", (), "changes the shell of whoever types it"),
    Shown(
        r"snakemake -s \S+ --workflow-profile slurm --configfile my\.yaml",
        (f"{SLURM}::test_a_shared_installation_runs_a_study_elsewhere_by_the_generic_profile", OPTIONS),
        "names the generic profile there",
    ),
    Shown(
        r"for part in (.|\n)*",
        (f"{DOCUMENTS}::test_parts_of_a_million_images_hold_each_of_them_once",),
        "is typed where snakemake only notes what it is asked for",
    ),
    Shown(
        r"sbatch --time=\S+ \S*profiles/slurm/head_job\.sh .*",
        (
            f"{DOCUMENTS}::test_job_that_runs_snakemake_uses_the_profile_of_the_installation",
            f"{SLURM}::test_a_run_that_is_a_job_ends_cleanly_before_its_time_is_up_and_goes_on_after_its_node_was_lost",
        ),
        "is started by bash, or asks for less time",
    ),
    Shown(
        r"grep .* \| xargs .* scancel --name",
        (f"{SLURM}::test_after_kill_9_the_documented_recovery_submits_nothing_twice",),
    ),
    Shown(r"squeue --me|sinfo .*", (), "shows the queue or the partitions of whoever types it"),
    # conversions and examples
    *(
        Shown(rf"gdal{pattern}.*", (f"tests/images/test_conversions.py::test_{test}",))
        for pattern, test in {
            "buildvrt -separate LC09": "bands_of_landsat_become_the_channels_of_one_image",
            "_translate -co": "a_format_of_several_files_is_converted_by_the_command_of_its_error",
            "_translate -ot": "channels_of_different_types_are_converted_by_the_documented_command",
            "_translate ARRAY": "an_array_of_a_zarr_folder_is_converted_by_the_documented_command",
            "_translate -a_srs": "place_of_a_world_file_and_a_reference_system_are_written_into_the_image",
            "_translate IN": "an_image_in_pieces_that_gdal_caches_is_converted_by_the_documented_command",
        }.items()
    ),
    Shown(
        r"gdalbuildvrt -separate -resolution highest",
        ("tests/images/test_scene.py::test_nearest_is_what_gdal_shows_of_the_same_bands",),
        "is a part of a command",
    ),
    Shown(r"python examples/fetch_inputs\.py|python examples/great_salt_lake/draw\.py", ("Makefile",)),
    Shown(
        r"snakemake --cores all --configfile examples/(great_salt_lake|mixed_formats)/config\.yaml",
        ("Makefile",),
    ),
    Shown(
        r"snakemake -s examples/module/Snakefile --cores all",
        ("tests/workflow/test_module.py::test_example_finds_the_brightest_patches_that_its_page_shows",),
    ),
    Shown(
        r"snakemake --cores all --configfile examples/rocky_mountains/config\.yaml",
        (OPTIONS, f"{EXAMPLES}::test_bands_of_the_rocky_mountains_are_one_image"),
        "its one job is run without Snakemake",
    ),
    Shown(
        r"snakemake --cores all --configfile examples/tissue/config\.yaml",
        (
            OPTIONS,
            f"{EXAMPLES}::test_patches_of_glass_are_skipped_and_the_others_show_stroma_as_in_the_readme",
        ),
        "its one job is run without Snakemake",
    ),
    Shown(
        r"python examples/(first_run/make_images|tissue/stains)\.py.*",
        (
            f"{EXAMPLES}::test_image_of_the_first_run_is_what_its_script_makes",
            f"{EXAMPLES}::test_stains_of_the_configuration_are_those_that_are_estimated_of_the_slide",
        ),
        "its function is called, and writes elsewhere",
    ),
)


def shown_as(command: Piece) -> list[Shown]:
    """List what shows a command: one, or the command is forgotten or shown twice."""
    return [shown for shown in SHOWN if re.fullmatch(shown.pattern, command.text)]


def commands_of(test: str) -> list[str]:
    """List what a test is to type, in the order of the documents, each once."""
    patterns = [shown.pattern for shown in SHOWN if test in shown.tests and not shown.instead]
    return list(
        dict.fromkeys(
            command.text
            for command in commands()
            if any(re.fullmatch(pattern, command.text) for pattern in patterns)
        )
    )
