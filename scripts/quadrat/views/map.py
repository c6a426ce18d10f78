"""The picture of a map: the image, and beside it what was predicted for each of its patches."""

import os

import numpy as np
from PIL import Image, ImageColor

from quadrat.files.atomic import replace_file
from quadrat.images.thumbnail import Thumbnail
from quadrat.results.display import class_colours, class_legend
from quadrat.views.patch_map import PatchMap
from quadrat.views.scale import VIRIDIS, round_ticks
from quadrat.views.sheet import INK, MARGIN, Sheet, wrapped

MOST_PANELS = 8  # of a prediction of more numbers, the numbers with the largest means are shown
PANELS_A_ROW = 3
COVER = 0.72  # how much the predictions hide of the image under them
PALE, HATCH = "#767676", (90, 90, 90)

# Lengths in pixels. A panel is as wide as PANEL unless its image is tall; its heading is as wide as CELL.
PANEL, THINNEST, CELL = 440, 16, 230
LEFT, GAP = 64, 26
BAR_WIDTH, BAR_HEIGHT = 18, 120
LEGEND = 300
TITLE_SIZE, HEADING_SIZE, TEXT_SIZE, TICK_SIZE = 18, 15, 14, 11

# Opacity of eight pixels in a row: a hatch line, and the way to the next.
HATCH_LINE = np.array([1, 0.4, 0, 0, 0, 0, 0, 0.4])


def draw_map(
    patch_map: PatchMap,
    thumbnail: Thumbnail,
    path: str | os.PathLike,
    results: str | os.PathLike | None = None,
) -> None:
    """Draw an image and its predictions as a PNG.

    Numbers are drawn on a scale of colours, labels as classes with a legend, and predictions of several
    numbers as a panel for each. Skipped patches are hatched; a patch whose prediction is not a finite
    number is left as the image shows it.

    Parameters
    ----------
    patch_map : PatchMap
    thumbnail : Thumbnail
        Of the same image.
    path : path
        The PNG to write.
    results : path, optional
        The results folder that it is in; see `quadrat.files.atomic.replacing`.
    """
    places = panels(patch_map)
    size = _panel_size(patch_map)
    pictures = [_resized(thumbnail, patch_map, size)]
    pictures += _predictions(patch_map, places, pictures[0])
    names = ["prediction" if patch_map.is_labels else patch_map.names[place] for place in places]
    headings = [thumbnail.problem or patch_map.size_text, *names]
    replace_file(path, _laid_out(patch_map, pictures, headings), results)


def panels(patch_map: PatchMap) -> list[int]:
    """Return the places of the numbers of a prediction that have a panel of their own."""
    count = patch_map.values.shape[2]
    if count <= MOST_PANELS:
        return list(range(count))
    finite = np.where(np.isfinite(patch_map.values), patch_map.values, 0)
    largest = np.argsort(-finite.mean(axis=(0, 1)), kind="stable")[:MOST_PANELS]
    return sorted(largest.tolist())


def legend(patch_map: PatchMap) -> list[tuple[str, str]]:
    """Return the colours of classes, each with the text beside it."""
    numbers = patch_map.values[np.isfinite(patch_map.values)].astype(int)
    return class_legend(patch_map.names, np.bincount(numbers, minlength=len(patch_map.names)))


def _panel_size(patch_map: PatchMap) -> tuple[int, int]:
    """Return width and height; a very long image loses its proportions, so that both can be seen."""
    tall = patch_map.height / patch_map.width
    width = PANEL / max(1, tall / 1.4)
    return max(THINNEST, round(width)), max(THINNEST, round(width * tall))


def _resized(thumbnail: Thumbnail, patch_map: PatchMap, size: tuple[int, int]) -> Image.Image:
    """Return the picture of the image alone: a thumbnail may reach past it."""
    picture = Image.fromarray(thumbnail.pixels)
    down, across = thumbnail.steps
    right, bottom = min(picture.width, patch_map.width / across), min(picture.height, patch_map.height / down)
    # Few pixels stay squares.
    method = Image.Resampling.HAMMING if right > size[0] else Image.Resampling.BOX
    return picture.resize(size, method, (0, 0, right, bottom))


def _predictions(patch_map: PatchMap, places: list[int], picture: Image.Image) -> list[Image.Image]:
    """Lay predictions over a pale picture, each where its patch is; a picture for each number."""
    rows = _grid_index(patch_map.row_spans, picture.height, patch_map.height)
    cols = _grid_index(patch_map.col_spans, picture.width, patch_map.width)

    def spread(cells: np.ndarray) -> Image.Image:
        """Return cells as a picture; the last row and column are shown where no patch is."""
        return Image.fromarray(cells[rows][:, cols])

    pale = _pale(picture)
    bordered = np.pad(patch_map.skipped != "", ((0, 1), (0, 1)))
    lines = HATCH_LINE[np.add.outer(np.arange(picture.height), np.arange(picture.width)) % len(HATCH_LINE)]
    hatch = Image.fromarray((lines * 255 * np.asarray(spread(bordered))).astype(np.uint8))
    pale.paste(HATCH, mask=hatch)
    drawn = []
    for place in places:
        values = np.pad(patch_map.values[..., place], ((0, 1), (0, 1)), constant_values=np.nan)
        is_shown = np.isfinite(values)
        covered = Image.blend(pale, spread(_colours(patch_map, np.where(is_shown, values, 0))), COVER)
        drawn.append(Image.composite(covered, pale, spread((is_shown * 255).astype(np.uint8))))
    return drawn


def _pale(picture: Image.Image) -> Image.Image:
    """Return a light grey picture, on which colours stay distinct."""
    return picture.convert("L").point([90 + level * 165 // 255 for level in range(256)]).convert("RGB")


def _grid_index(spans: np.ndarray, pixels: int, length: int) -> np.ndarray:
    """Return the grid row, or column, at the middle of each row of pixels of a picture; -1 where none is."""
    at = (np.arange(pixels) + 0.5) * length / pixels
    index = np.searchsorted(spans[:, 0], at, side="right") - 1
    return np.where((index >= 0) & (at < spans[np.maximum(index, 0), 1]), index, -1)


def _colours(patch_map: PatchMap, values: np.ndarray) -> np.ndarray:
    """Return the colours of finite values, as (..., 3) uint8."""
    if patch_map.is_labels:
        colours = class_colours(len(patch_map.names) + 1)  # where all patches are skipped, there is no class
        return np.array([ImageColor.getrgb(colour) for colour in colours], np.uint8)[values.astype(int)]
    return VIRIDIS[np.interp(values, patch_map.limits, (0, 255.999)).astype(int)]


def _laid_out(patch_map: PatchMap, pictures: list[Image.Image], headings: list[str]) -> bytes:
    """Return a PNG of the pictures under their headings, with a title and the meaning of colours."""
    width, height = pictures[0].size
    cell = max(width, CELL) + GAP
    cols = min(PANELS_A_ROW, len(pictures))
    rows = -(-len(pictures) // cols)
    headings = [wrapped(text, HEADING_SIZE, cell - GAP) for text in headings]
    above = max(text.count("\n") + 1 for text in headings) * (HEADING_SIZE + 4) + 8
    pitch = above + height + GAP
    sheet = Sheet(LEFT + cols * cell + 2 * LEGEND, rows * pitch + 2 * LEGEND)
    title = wrapped(_title(patch_map, len(pictures) - 1), TITLE_SIZE, cols * cell)
    top = round(sheet.text(LEFT, MARGIN, title, TITLE_SIZE)) + MARGIN + above
    for place, (heading, picture) in enumerate(zip(headings, pictures, strict=True)):
        row, col = divmod(place, cols)
        x, y = LEFT + col * cell, top + row * pitch
        sheet.text(x, y - 8, heading, HEADING_SIZE, "ld")
        sheet.picture(picture, x, y)
    _mark_pixels(sheet, patch_map, pictures[0].size, top)
    if patch_map.is_labels:
        _draw_legend(sheet, legend(patch_map), LEFT + cols * cell, top)
    else:
        length = max(BAR_HEIGHT, rows * pitch - above - GAP)
        _draw_scale(sheet, patch_map.limits, LEFT + cols * cell, top, length)
    return sheet.png()


def _title(patch_map: PatchMap, shown: int) -> str:
    name = patch_map.name if len(patch_map.name) <= 90 else f"…{patch_map.name[-89:]}"
    count = patch_map.values.shape[2]
    return name if shown == count else f"{name}: the {shown} of {count} numbers with the largest means"


def _mark_pixels(sheet: Sheet, patch_map: PatchMap, size: tuple[int, int], top: int) -> None:
    """Mark both sides of the first picture with round numbers of pixels."""
    width, height = size
    for at, text in round_ticks(0, patch_map.width, min(4, 1 + width // 90)).items():
        x = LEFT + round(at / patch_map.width * (width - 1))
        sheet.draw.line((x, top + height, x, top + height + 3), PALE)
        sheet.text(x, top + height + 5, text, TICK_SIZE, "ma", PALE)
    for at, text in round_ticks(0, patch_map.height, min(4, 1 + height // 45)).items():
        y = top + round(at / patch_map.height * (height - 1))
        sheet.draw.line((LEFT - 4, y, LEFT - 1, y), PALE)
        sheet.text(LEFT - 7, y, text, TICK_SIZE, "rm", PALE)


def _draw_scale(sheet: Sheet, limits: tuple[float, float], x: int, y: int, length: int) -> None:
    """Draw the scale of colours as they look over white."""
    colours = (COVER * VIRIDIS + (1 - COVER) * 255).astype(np.uint8)
    bar = Image.fromarray(colours[::-1, None])
    sheet.picture(bar.resize((BAR_WIDTH, length), Image.Resampling.BOX), x, y)
    for value, text in round_ticks(*limits, max(2, min(8, length // 50))).items():
        at = y + round(np.interp(value, limits, (length - 1, 0)))
        sheet.draw.line((x + BAR_WIDTH, at, x + BAR_WIDTH + 3, at), INK)
        sheet.text(x + BAR_WIDTH + 8, at, text, TEXT_SIZE, "lm")


def _draw_legend(sheet: Sheet, entries: list[tuple[str, str]], x: int, y: float) -> None:
    y = sheet.text(x, y, "patches", TEXT_SIZE) + 10
    for colour, text in entries:
        sheet.draw.rectangle((x, y, x + 2 * TEXT_SIZE, y + TEXT_SIZE - 2), colour)
        y = sheet.text(x + 2 * TEXT_SIZE + 9, y - 2, wrapped(text, TEXT_SIZE, LEGEND), TEXT_SIZE) + 8
