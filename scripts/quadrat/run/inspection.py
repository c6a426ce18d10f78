"""The inspection: properties and needs of each image, from its header alone, before any prediction."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any

from quadrat.errors import ImageError
from quadrat.files.atomic import replace_file
from quadrat.files.log import JobLog
from quadrat.files.text import counted, table_bytes
from quadrat.files.unread import not_taken
from quadrat.plan.found import FoundImage
from quadrat.plan.inventory import find_images
from quadrat.plan.scenes import describe_layouts
from quadrat.processes.limits import Ended
from quadrat.results.folder import ResultsFolder
from quadrat.settings import ReadSettings, Settings

# Longer tables are cut on the terminal, where images that cannot be read come first.
MOST_IMAGES_SHOWN = 60
# Reference systems without a code are described at length.
LONGEST_CRS = 20
# Columns of that table whose cells begin below one another.
TEXT_COLUMNS = ("filename", "format", "height x width x channels", "dtype", "layout", "CRS or mpp")
# Significant digits of micrometres per pixel.
SIZE_DIGITS = 4


@dataclass(frozen=True)
class Inspected:
    """The header of an image; empty if it cannot be read.

    Attributes
    ----------
    filename : str
    bytes : int
        Size of the file.
    format, dtype, compression : str
        As `quadrat.images.open.ImageInfo` has them.
    height, width, channels : int
        Of the level that the configuration reads, in pixels.
    layout : str
        How the file is cut into segments.
    levels : int
        Number of pyramid levels.
    crs : str
        Coordinate reference system.
    mpp, gsd : str
        Size of a level-0 pixel along y and x, in micrometres and in units of the reference system.
    patches : int
    mem_mb : int
        Least memory of a job that predicts it, in MB, as Snakemake counts it.
    notes : str
        Conversions of its pixels, and choices among them.
    problem, hint : str
        Why it cannot be read, and a way out.
    """

    filename: str
    bytes: int | str = ""
    format: str = ""
    height: int | str = ""
    width: int | str = ""
    channels: int | str = ""
    dtype: str = ""
    layout: str = ""
    compression: str = ""
    levels: int | str = ""
    crs: str = ""
    mpp: str = ""
    gsd: str = ""
    patches: int | str = ""
    mem_mb: int | str = ""
    notes: str = ""
    problem: str = ""
    hint: str = ""


def inspect_images(settings: Settings, ask: Callable[[list[Any]], Iterable[Any]], log: JobLog) -> None:
    """Write `inspect.tsv`, one row per image, and show a table of it.

    Parameters
    ----------
    settings : Settings
    ask : callable
        Takes questions, and returns in their order the result of `answer` for each, or `Ended`; see
        `quadrat.processes.limits.answers`.
    log : JobLog
        Takes the lines that a person should read, and the tracebacks.

    Raises
    ------
    ConfigError
        If there are no images.
    """
    left_out: Counter[str] = Counter()
    found = find_images(settings, left_out)
    folder = ResultsFolder(settings.results)
    usable = [image for image in found if not image.problem]
    reading = settings.reading.as_dict()
    answers = ask([{"path": image.path, "reading": reading} for image in usable])
    answered = dict(zip((image.filename for image in usable), answers, strict=True))
    for filename, ended in answered.items():
        if isinstance(ended, Ended):
            log.keep(f"{filename}:\n{ended.printed}")
            hint = f"see {folder.log('inspect')}"
            answered[filename] = {"problem": f"cannot be read: {ended.why}", "hint": hint}
    inspected = [_inspected(image, answered.get(image.filename)) for image in found]
    table = folder.inspected
    header = [field.name for field in fields(Inspected)]
    rows = ([image.filename, *(_cell(getattr(image, name)) for name in header[1:])] for image in inspected)
    replace_file(table, table_bytes(header, rows), folder.path)
    layouts = [] if settings.scenes else describe_layouts([image.filename for image in found])
    for line in [*_table_lines(inspected, table), *_totals(inspected, left_out), *layouts]:
        log(line)


def _inspected(image: FoundImage, answered: dict[str, Any] | None) -> Inspected:
    if answered is None:
        return Inspected(image.filename, problem=image.problem, hint=image.hint)
    return Inspected(image.filename, image.size, **answered)


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """Return the header of an image, or its problem, as fields of `Inspected`."""
    try:
        return _header(question["path"], ReadSettings(**question["reading"]))
    except ImageError as error:
        return {"problem": str(error), "hint": error.hint}
    except OSError as error:
        return {"problem": f"cannot be read: {error.strerror}"}


def _header(path: str, reading: ReadSettings) -> dict[str, Any]:
    """Return the fields of `Inspected` that the header of a readable image holds."""
    from quadrat.images.budget import MB, REST_MB, estimates
    from quadrat.images.open import open_image
    from quadrat.images.reading import configured_reader
    from quadrat.images.resolution import sides_on_earth
    from quadrat.patches.stream import plan_blocks, require_listable

    nodata = reading.nodata_by_channel
    with estimates() as needed, open_image(path, reading.plane, nodata=nodata) as image:
        reader = configured_reader(image, reading)
        info = reader.info
        grid = reading.grid(info.height, info.width)
        require_listable(grid, None)
        if len(grid):
            # Nothing is decoded before the first block is asked for.
            reader.read_blocks([block.window for block in plan_blocks(grid, info)], threads=1)
    return {
        "format": info.format,
        "height": info.height,
        "width": info.width,
        "channels": info.channels,
        "dtype": str(info.dtype),
        "layout": _layout(info.segment_height, info.segment_width, info.width),
        "compression": info.compression,
        "levels": info.level_count,
        "crs": info.crs or "",
        "mpp": _size(info.mpp),
        "gsd": _size(info.transform and sides_on_earth(info)),
        "patches": len(grid),
        "mem_mb": REST_MB + math.ceil(max(needed) / MB),
        "notes": "; ".join(info.notes),
    }


def _size(sides: tuple[float, ...] | None) -> str:
    return " x ".join(f"{side:.{SIZE_DIGITS}g}" for side in sides or ())


def _layout(height: int, width: int, image_width: int) -> str:
    if width != image_width:
        return f"tiles of {height:,} x {width:,}"
    return f"strips of {height:,}" if height > 1 else "rows"


def _cell(value: Any) -> Any:
    return " ".join(value.split()) if isinstance(value, str) else value


def _table_lines(images: list[Inspected], table: str) -> Iterator[str]:
    """Yield the lines of the table, then one line per problem."""
    import pandas as pd

    readable = [image for image in images if not image.problem]
    if readable:
        rows = pd.DataFrame([_row(image) for image in readable[:MOST_IMAGES_SHOWN]])
        left = {name: f"{{:<{rows[name].str.len().max()}}}".format for name in TEXT_COLUMNS}
        yield from rows.to_string(index=False, justify="left", formatters=left).splitlines()
    if len(readable) > MOST_IMAGES_SHOWN:
        yield f"and {len(readable) - MOST_IMAGES_SHOWN:,} more: see {table}"
    broken = [image for image in images if image.problem]
    for image in broken[:MOST_IMAGES_SHOWN]:
        yield f"{image.filename}: {image.problem}" + (f" ({image.hint})" if image.hint else "")
    if len(broken) > MOST_IMAGES_SHOWN:
        yield f"and {len(broken) - MOST_IMAGES_SHOWN:,} more that cannot be read: see {table}"


def _row(image: Inspected) -> dict[str, str]:
    crs = image.crs if len(image.crs) < LONGEST_CRS else "its own"
    compression = "uncompressed" if image.compression == "none" else image.compression
    return {
        "filename": image.filename,
        "format": image.format,
        "MB": f"{int(image.bytes) / 1e6:,.1f}",
        "height x width x channels": f"{image.height:,} x {image.width:,} x {image.channels}",
        "dtype": image.dtype,
        "layout": ", ".join(filter(None, [image.layout, compression])),
        "levels": str(image.levels),
        "CRS or mpp": crs or image.mpp or (f"no CRS, gsd {image.gsd}" if image.gsd else ""),
        "patches": f"{image.patches:,}",
        "mem_mb": f"{image.mem_mb:,}",
    }


def _totals(images: list[Inspected], left_out: Counter[str]) -> Iterator[str]:
    readable = [image for image in images if not image.problem]
    megabytes = sum(int(image.bytes) for image in images if image.bytes) / 1e6
    yield (
        f"{counted(len(images), 'image')}, {megabytes:,.1f} MB: "
        f"{counted(sum(int(image.patches) for image in readable), 'patch', 'es')}; "
        f"{counted(len(images) - len(readable), 'image')} cannot be read"
    )
    others = [
        f"{number:,} {reason or 'without ending'}" for reason, number in left_out.most_common() if number
    ]
    if others:
        yield f"not images: {', '.join(others)}"
    yield from not_taken(left_out)
