"""The page of an image: its picture and predictions, where pointing at a patch shows its prediction."""

import base64
import os
from typing import Any

import imagecodecs
import numpy as np
from bokeh.embed import file_html
from bokeh.models import ColumnDataSource, HoverTool, LinearColorMapper, Range1d
from bokeh.models.annotations import ColorBar
from bokeh.palettes import Viridis256
from bokeh.plotting import figure
from bokeh.resources import INLINE
from jinja2 import Environment

from quadrat.files.atomic import replace_file
from quadrat.images.thumbnail import Thumbnail
from quadrat.results.display import class_colours
from quadrat.views.map import panels
from quadrat.views.patch_map import PatchMap

# A page of so many takes 3.4 MB. Lines between them hide them when there are many.
MOST_PATCHES, MOST_OUTLINED = 100_000, 2500
JPEG_QUALITY = 85
LONGEST_SIDE = 720  # of the drawing on the screen, in pixels
COVER = 0.6  # how much the patches hide of the picture at first

TEMPLATE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; \
style-src 'unsafe-inline'; img-src data: blob:">
<title>{{ name }}</title>
<link rel="icon" href="data:,">
{{ bokeh_css | safe }}
{{ bokeh_js | safe }}
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #222; margin: 2rem; }
h1 { font-size: 1.25rem; font-weight: 600; margin: 0; overflow-wrap: anywhere; }
p { color: #666; margin: .2rem 0 1rem; }
label { color: #666; margin-right: 2rem; }
select { font: inherit; }
input { vertical-align: middle; }
.plot { margin-top: 1rem; }
ul { list-style: none; display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; padding: 0; }
li::before { content: ""; display: inline-block; width: .8em; height: .8em; margin-right: .5em;
  background: var(--colour); }
</style>
</head>
<body>
<h1>{{ name }}</h1>
<p>{{ facts }}</p>
{% if choices | length > 1 %}
<label>Shown: <select id="shown">
{% for field, text in choices %}
<option value="{{ field }}"{% if field == first %} selected{% endif %}>{{ text }}</option>
{% endfor %}
</select></label>
{% endif %}
<label>Opacity: <input id="opacity" type="range" min="0" max="1" step="0.05" value="{{ cover }}"></label>
{% if classes %}
<ul>{% for colour, text in classes %}<li style="--colour: {{ colour }}">{{ text }}</li>{% endfor %}</ul>
{% endif %}
<div class="plot">{{ plot_div | safe }}</div>
{{ plot_script | safe }}
<script>
const patches = () => Bokeh.documents[0].get_model_by_name("patches").glyph;
document.getElementById("shown")?.addEventListener("change", (event) => {
  patches().fill_color = {...patches().fill_color, field: event.target.value};
});
document.getElementById("opacity").addEventListener("input", (event) => {
  patches().fill_alpha = {value: Number(event.target.value)};
});
</script>
</body>
</html>
"""


def write_page(
    patch_map: PatchMap,
    thumbnail: Thumbnail,
    path: str | os.PathLike,
    results: str | os.PathLike | None = None,
) -> None:
    """Write a page that needs no other file and no network.

    For an image of more than 100,000 patches it shows the picture only, with a note.

    Parameters
    ----------
    patch_map : PatchMap
    thumbnail : Thumbnail
        Of the same image.
    path : path
        The HTML file to write.
    results : path, optional
        The results folder that it is in; see `quadrat.files.atomic.replacing`.
    """
    plot = _canvas(patch_map, thumbnail)
    count, shown = patch_map.skipped.size, panels(patch_map)
    facts = [patch_map.size_text, f"{count:,} patches", thumbnail.problem]
    if count > MOST_PATCHES:
        facts.append("too many to point at: see the map")
    else:
        _add_patches(plot, patch_map, shown)
        facts.append("point at a patch to read its prediction; drag and scroll to look closer")
    colours = class_colours(len(patch_map.names))
    html = file_html(
        plot,
        INLINE,
        title=patch_map.name,
        template=Environment(autoescape=True).from_string(TEMPLATE),
        template_variables={
            "name": patch_map.name,
            "facts": " · ".join(fact for fact in facts if fact),
            "cover": COVER,
            "first": f"p{_first(patch_map, shown)}",
            "choices": []
            if patch_map.is_labels
            else [(f"p{place}", patch_map.names[place]) for place in shown],
            "classes": list(zip(colours, patch_map.names, strict=True)) if patch_map.is_labels else [],
        },
    )
    replace_file(path, html.encode("utf-8", "replace"), results)


def _canvas(patch_map: PatchMap, thumbnail: Thumbnail) -> figure:
    height, width = thumbnail.pixels.shape[:2]
    scale = LONGEST_SIDE / max(height, width)
    plot = figure(
        frame_height=max(120, round(height * scale)),
        frame_width=max(120, round(width * scale)),
        x_range=Range1d(start=0, end=patch_map.width),
        y_range=Range1d(start=patch_map.height, end=0),
        x_axis_label="x, px",
        y_axis_label="y, px",
        tools="pan,wheel_zoom,reset,save",
        active_scroll="wheel_zoom",
    )
    plot.toolbar.logo = None
    plot.grid.visible = False
    plot.outline_line_color = None
    for axis in plot.axis:
        axis.formatter.use_scientific = False  # type: ignore[attr-defined] # that of an axis of numbers has it
        axis.axis_label_text_font_style = "normal"
    picture = imagecodecs.jpeg8_encode(thumbnail.pixels, level=JPEG_QUALITY)
    plot.image_url(
        url=[f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"],
        x=0,
        y=0,
        w=width * thumbnail.steps[1],
        h=height * thumbnail.steps[0],
        anchor="top_left",
    )
    return plot


def _add_patches(plot: figure, patch_map: PatchMap, shown: list[int]) -> None:
    cells = _cells(patch_map)
    is_skipped = patch_map.skipped.ravel() != ""
    numbers = patch_map.values.reshape(len(is_skipped), -1)
    places = [("row, col", "@row, @col"), ("y, x", "@y, @x px")]
    edges: dict[str, Any] = {"left": "left", "right": "right", "top": "top", "bottom": "bottom"}
    if is_skipped.any():
        reasons = patch_map.skipped.ravel()[is_skipped].tolist()
        source = ColumnDataSource(_rows_of(cells, is_skipped) | {"reason": reasons})
        hatched = plot.quad(
            **edges, source=source, fill_alpha=0, line_width=0, hatch_pattern="/", hatch_color="#777777"
        )
        plot.add_tools(HoverTool(renderers=[hatched], tooltips=[*places, ("skipped", "@reason")]))
    columns = {f"p{place}": numbers[~is_skipped, place] for place in shown}
    low, high = _limits(patch_map)
    mapper = LinearColorMapper(palette=Viridis256, low=low, high=high, nan_color="rgba(0, 0, 0, 0)")
    if patch_map.is_labels:
        labels = np.array([*patch_map.names, ""], object)
        codes = np.nan_to_num(numbers[~is_skipped], nan=-1).astype(int)
        columns["label"] = [", ".join(found) for found in labels[codes].tolist()]
        names = [("prediction", "@label")]
        mapper.palette = class_colours(len(patch_map.names))
    else:
        names = [(patch_map.names[place], f"@p{place}{{%.6g}}") for place in shown]
    drawn = plot.quad(
        **edges,
        source=ColumnDataSource(_rows_of(cells, ~is_skipped) | columns),
        fill_color={"field": f"p{_first(patch_map, shown)}", "transform": mapper},
        fill_alpha=COVER,
        line_color="#ffffff",
        line_alpha=0.35,
        line_width=0.5 if len(is_skipped) <= MOST_OUTLINED else 0,
        hover_line_color="#000000",
        hover_line_alpha=1,
        name="patches",
    )
    formats: dict[str, Any] = {f"@p{place}": "printf" for place in shown}
    plot.add_tools(HoverTool(renderers=[drawn], tooltips=[*places, *names], formatters=formats))
    if not patch_map.is_labels:
        plot.add_layout(ColorBar(color_mapper=mapper, width=14, bar_line_color=None), "right")


def _first(patch_map: PatchMap, shown: list[int]) -> int:
    """Return the number that is shown at first: the one that differs most between patches."""
    finite = np.where(np.isfinite(patch_map.values), patch_map.values, 0)
    return max(shown, key=lambda place: finite[..., place].std())


def _limits(patch_map: PatchMap) -> tuple[float, float]:
    return (-0.5, len(patch_map.names) - 0.5) if patch_map.is_labels else patch_map.limits


def _cells(patch_map: PatchMap) -> dict[str, np.ndarray]:
    """Return the place of each patch, in row-major order."""
    rows, cols = patch_map.skipped.shape
    return {
        "row": np.repeat(np.arange(rows, dtype=np.int32), cols),
        "col": np.tile(np.arange(cols, dtype=np.int32), rows),
        "y": np.repeat(patch_map.ys, cols).astype(np.int32),
        "x": np.tile(patch_map.xs, rows).astype(np.int32),
        "top": np.repeat(patch_map.row_spans[:, 0], cols).astype(np.int32),
        "bottom": np.repeat(patch_map.row_spans[:, 1], cols).astype(np.int32),
        "left": np.tile(patch_map.col_spans[:, 0], rows).astype(np.int32),
        "right": np.tile(patch_map.col_spans[:, 1], rows).astype(np.int32),
    }


def _rows_of(columns: dict[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
    return {name: values[rows] for name, values in columns.items()}
