"""The merge: the results of all images as one dictionary, one table and plain-name links."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import orjson
import pyarrow as pa

from quadrat.errors import ResultsError
from quadrat.files.atomic import discard, replace_file, writing
from quadrat.files.inside import remove
from quadrat.files.text import table_bytes, visible
from quadrat.results.dictionary import write_dictionary, write_typed
from quadrat.results.folder import TABLE_COLUMNS, ResultsFolder, split_version_path
from quadrat.results.links import link_results
from quadrat.results.notes import image_notes, run_notes
from quadrat.results.result import Result, read_result
from quadrat.results.schema import read_footer
from quadrat.results.state import StateRow, state
from quadrat.results.summary import Locate, Measure, SummaryTables
from quadrat.results.tables import PlannedImage

# A failure of this kind stays until the file changes; the next run tries others again.
LASTING = "data"


def merge_predictions(
    paths: list[str],
    images: list[PlannedImage],
    settings: dict[str, Any],
    recipe: dict[str, Any],
    log: Callable[[str], None],
    sidecars: Mapping[str, Sequence[str]] | None = None,
    not_taken: Sequence[str] = (),
    measure: Measure | None = None,
    locate: Locate | None = None,
) -> str:
    """Merge the results of all images.

    Writes the dictionary as Parquet and JSON, the tables and the links, and last the record of their
    contents. Files that were made from the previous merged files are removed.

    Parameters
    ----------
    paths : list of str
        The versioned Parquets that are merged, whatever the manifest contains.
    images : list of PlannedImage
        The manifest, for the images that had no job and for the user's own columns.
    settings : dict
        The effective configuration.
    recipe : dict
        The inputs of the versions.
    log : callable
        Takes the lines that a person should read.
    sidecars : mapping of str to sequence of str, optional
        Filename, and endings of the files beside it that are not read, of each image that has such files.
    not_taken : sequence of str, optional
        Lines that describe the images that were not taken.
    measure, locate : callable, optional
        Areas of patches and regions of images for the summary; see `quadrat.results.summary.SummaryTables`.

    Returns
    -------
    str
        The state of the merged files; see `quadrat.results.state.state`.

    Raises
    ------
    ResultsError
        If a Parquet is not the result that its name promises, or the predictions of two images have no
        common type.
    """
    folder = ResultsFolder(settings["results"])
    results = [read_result(path) for path in paths]
    results += [_unplanned(image) for image in images if image.problem]
    results.sort(key=lambda result: result.filename)
    columns = {image.filename: image.columns for image in images}
    discard(folder.overview, folder.path)
    for line in _warnings(results):
        log(line)
    ok = [result for result in results if result.status == "ok"]
    summary = SummaryTables(settings["predictor"], measure, locate)
    prediction_type = write_dictionary(ok, folder, settings["json_max_values"], summary.add)
    notes = [image_notes(result, (sidecars or {}).get(result.filename, ())) for result in results]
    replace_file(folder.images, _image_table(results, notes, columns), folder.path)
    replace_file(folder.summary, summary.of_images(results), folder.path)
    if settings["regions"] is None:
        discard(folder.regions, folder.path)
    else:
        replace_file(folder.regions, summary.of_regions(), folder.path)
    links = link_results({result.filename: result.path for result in ok}, folder.links, folder.path)
    for result in ok:
        if pa.types.is_null(result.prediction_type):
            write_typed(result, prediction_type, links[result.filename], folder.path)
    shards = folder.list_shards()
    for result in results:
        may_pass = result.path and result.failure.get("kind", LASTING) != LASTING
        for path in shards.get(result.path, []):
            # The next try of an image needs its good shards, which are then not predicted again.
            if not may_pass or not _is_good(path):
                with writing(path):
                    folder.remove_shard(path)
        if may_pass:
            # A failure that may pass is removed once it is in the table, so that the next run tries again.
            with writing(result.path):
                remove(result.path, folder.path)
    merged = state([_state_row(result, columns) for result in results], settings["json_max_values"])
    record = {
        "state": merged,
        "recipe": recipe,
        "images": {
            result.filename: [result.content_id, result.content_hash] for result in results if result.path
        },
        "summary": _summary(results) | {"notes": run_notes(results, notes), "not_taken": [*not_taken]},
    }
    replace_file(folder.merged, orjson.dumps(record), folder.path)
    return merged


def _is_good(shard: str) -> bool:
    try:
        return "failure" not in read_footer(shard)[0]
    except ResultsError:
        return False


def _state_row(result: Result, columns: dict[str, dict[str, str]]) -> StateRow:
    version = split_version_path(result.path)[1] if result.path else ""
    problem = "" if result.path else result.failure["message"]
    return StateRow(result.filename, version, problem, columns.get(result.filename, {}))


def _unplanned(image: PlannedImage) -> Result:
    failure = {"kind": LASTING, "message": image.problem, "hint": image.hint}
    return Result(image.filename, "", "failed", failure=failure)


def _warnings(results: list[Result]) -> Iterator[str]:
    versions: dict[str, set[str]] = {}
    for name, version in {pair for result in results for pair in result.software}:
        versions.setdefault(name, set()).add(version)
    for name, found in sorted(versions.items()):
        if len(found) > 1:
            yield (
                f"warning: results were made with {name} {', '.join(sorted(found))}; "
                "predictions may differ between its versions"
            )
    nan = [result.filename for result in results if result.counts.get("nan") or result.counts.get("infinite")]
    if nan:
        yield f"warning: {len(nan):,} images have predictions that are NaN or infinite, such as {nan[0]}"


def _image_table(results: list[Result], notes: list[list[str]], columns: dict[str, dict[str, str]]) -> bytes:
    own = list(next(iter(columns.values()), {}))
    rows = []
    for result, of_image in zip(results, notes, strict=True):
        counts, failure = result.counts, result.failure
        numbers = [counts.get(name, "") for name in ("patches", "skipped", "nan")]
        dropped = f"{counts['dropped']:.6f}" if "dropped" in counts else ""
        texts = [failure.get(name, "") for name in ("kind", "message", "hint")]
        mine = columns.get(result.filename, {})
        rows.append(
            [result.filename, result.status, *numbers, dropped, result.content_hash or ""]
            + [*map(_one_line, [*texts, "; ".join(of_image)])]
            + [mine.get(name, "") for name in own]
        )
    return table_bytes([*TABLE_COLUMNS, *own], rows)


def _one_line(text: str) -> str:
    """Return a decoder's message, which may quote its file, as one line without control characters."""
    return visible(" ".join(text.split()))


def _summary(results: list[Result]) -> dict[str, Any]:
    statuses = Counter(result.status for result in results)
    pixels = sum(result.pixels for result in results)
    dropped = sum(result.pixels * result.counts.get("dropped", 0) for result in results)
    return {
        "images": len(results),
        "ok": statuses["ok"],
        "failed": statuses["failed"],
        "no_patch": statuses["no_patch"],
        "patches": sum(result.counts["patches"] for result in results),
        "skipped": sum(result.counts.get("skipped", 0) for result in results),
        "dropped": dropped / pixels if pixels else 0,
    }
