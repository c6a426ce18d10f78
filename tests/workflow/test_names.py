"""Names of images that a shell would run: nothing runs, and each image keeps its name."""

from names import COMMANDS, awkward_names, require_harmless, write_named


def test_names_that_are_commands_are_names_and_nothing_more(study):
    expected = write_named(study.images, awkward_names(len(COMMANDS)))
    study.configure(on_failure="report")
    run = study.run()
    assert run.code == 0, run.output
    require_harmless(study, expected)
