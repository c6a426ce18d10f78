"""The overview of a run as a page: its counts, distribution, failures, images, configuration, versions."""

from collections import Counter
from pathlib import Path

from jinja2 import Environment

from quadrat.files.atomic import replace_file
from quadrat.results.folder import ResultsFolder
from quadrat.results.predictions import open_predictions
from quadrat.results.tables import list_failures, read_image_table
from quadrat.views.distribution import count_predictions, draw_distribution

# Longer tables are cut: images.tsv has all rows.
MOST_ROWS = 2000

TEMPLATE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; \
img-src data:">
<title>Overview</title>
<link rel="icon" href="data:,">
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #222; margin: 2rem auto; max-width: 70rem;
  padding: 0 1.5rem; }
h1 { font-size: 1.5rem; font-weight: 600; }
h2 { font-size: 1.1rem; font-weight: 600; margin-top: 2.2rem; }
.counts { display: flex; flex-wrap: wrap; gap: 2.5rem; }
.counts b { display: block; font-size: 1.8rem; font-weight: 600; line-height: 1.2; }
.counts span, .note { color: #666; }
.bad b, .failed { color: #b3261e; }
.distribution { font-size: 12px; fill: #33638d; max-width: 100%; height: auto; }
.distribution text { fill: #222; }
.middle { text-anchor: middle; }
.end { text-anchor: end; }
.axis { stroke: #8a8a8a; fill: none; }
table { border-collapse: collapse; width: 100%; font-size: .92em; }
th { text-align: left; color: #666; font-weight: 500; }
th, td { padding: .25rem .8rem .25rem 0; border-bottom: 1px solid #eee; overflow-wrap: anywhere;
  vertical-align: top; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
pre { background: #f6f6f6; padding: 1rem; overflow-x: auto; font-size: .85em; }
</style>
</head>
<body>
{% macro more(rows) %}
{% if rows | length > most %}
<p class="note">and {{ "{:,}".format(rows | length - most) }} more: see images.tsv</p>
{% endif %}
{% endmacro %}
<h1>Overview</h1>
<div class="counts">
{% for text, count in counts %}
<div{% if text == "failed" and count %} class="bad"{% endif %}>
<b>{{ "{:,}".format(count) }}</b><span>{{ text }}</span></div>
{% endfor %}
</div>
{% for line in notes %}
<p class="note">{{ line }}</p>
{% endfor %}
{% if distribution %}
<h2>Distribution of predictions</h2>
{{ distribution | safe }}
{% endif %}
{% if failed %}
<h2>Failures</h2>
<table>
<tr><th>image<th>what is wrong<th>what to do</tr>
{% for row in failed[:most] %}
<tr><td>{{ row.images }}<td>{{ row.message }}<td>{{ row.hint }}</tr>
{% endfor %}
</table>
{% if failed | length < failures or failed | length > most %}
<p class="note">each image and its reason: see images.tsv</p>
{% endif %}
{% endif %}
<h2>Images</h2>
<table>
<tr><th>image<th>status<th class="number">patches<th class="number">skipped<th class="number">not a number
<th class="number">pixels dropped</tr>
{% for row in rows[:most] %}
<tr><td>{{ row.filename }}<td class="{{ row.status }}">{{ row.status | replace("_", " ") }}
<td class="number">{{ row.patches }}<td class="number">{{ row.skipped }}<td class="number">{{ row.nan }}
<td class="number">{{ "{:.1%}".format(row.dropped | float) if row.dropped else "" }}</tr>
{% endfor %}
</table>
{{ more(rows) }}
{% if noted %}
<h2>Notes</h2>
<table>
<tr><th>image<th>notes</tr>
{% for row in noted[:most] %}
<tr><td>{{ row.filename }}<td>{{ row.notes }}</tr>
{% endfor %}
</table>
{{ more(noted) }}
{% endif %}
<h2>Configuration and versions</h2>
<pre>{{ run }}</pre>
</body>
</html>
"""


def write_overview(folder: ResultsFolder) -> None:
    """Write the overview of the merged results; the page needs no other file and no network.

    Parameters
    ----------
    folder : ResultsFolder
    """
    rows = read_image_table(folder.images)
    statuses = Counter(row["status"] for row in rows)
    distribution = ""
    if statuses["ok"]:
        distribution = draw_distribution(count_predictions(open_predictions(folder.path)))
    patches = sum(int(row["patches"]) for row in rows)
    summary = folder.read_merged().get("summary", {})
    page = (
        Environment(autoescape=True)
        .from_string(TEMPLATE)
        .render(
            rows=rows,
            failed=list_failures([row for row in rows if row["status"] == "failed"]),
            failures=statuses["failed"],
            noted=[row for row in rows if row["notes"]],
            notes=summary.get("notes", []) + summary.get("not_taken", []),
            counts=[
                ("image" if len(rows) == 1 else "images", len(rows)),
                ("ok", statuses["ok"]),
                ("failed", statuses["failed"]),
                ("without a patch", statuses["no_patch"]),
                ("patch" if patches == 1 else "patches", patches),
            ],
            distribution=distribution,
            most=MOST_ROWS,
            run=Path(folder.run).read_text(encoding="utf-8", errors="replace"),
        )
    )
    replace_file(folder.overview, page.encode("utf-8", "replace"), folder.path)
