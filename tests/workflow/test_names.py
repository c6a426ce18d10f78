"""Names of images that a shell would run: nothing runs, and each image keeps its name."""

from names import COMMANDS, awkward_names, require_harmless, write_named
from studies import write_image


def test_names_that_are_commands_are_names_and_nothing_more(study):
    expected = write_named(study.images, awkward_names(len(COMMANDS)))
    study.configure(on_failure="report")
    run = study.run()
    assert run.code == 0, run.output
    require_harmless(study, expected)


def test_results_under_the_names_of_earlier_keys_are_kept(study):
    study.configure(maps=True)
    names = ["my scenes/a b.tif", "my scenes/100%.tif", "a+20b.tif", "plain.tif", "é" * 40 + ".tif"]
    for seed, name in enumerate(names):
        write_image(study.images / name, seed)
    assert study.run().code == 0
    before = study.merged_bytes()

    # The keys of then: a percent sign was escaped, and spaces, plus signs and umlauts were not.
    for name in names:
        old_key = name.replace("%", "%25")
        for link, folder, shown in (
            (f"predictions/{name}.parquet", study.results / "versions", ""),
            (f"maps/{name}.png", None, "map.png"),
        ):
            path = (study.results / link).resolve()
            path = path.parent if shown else path
            _, _, version = path.name.removesuffix(".parquet").rpartition(".")
            look = folder or next(parent for parent in path.parents if parent.parent.name == "drawings")
            old = look / f"{old_key}.{version}{'' if shown else '.parquet'}"
            old.parent.mkdir(exist_ok=True)
            path.rename(old)
    (study.results / ".quadrat/renamed").unlink()

    again = study.run()
    assert (again.code, again.predicted, again.jobs("draw_maps")) == (0, 0, 0), again.output
    assert study.merged_bytes() == before
    assert all((study.results / f"predictions/{name}.parquet").exists() for name in names)
    assert all((study.results / f"maps/{name}.png").exists() for name in names)
    assert study.run().nothing_to_be_done
