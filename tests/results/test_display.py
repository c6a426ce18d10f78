import json

import matplotlib as mpl
import numpy as np
import pyarrow.parquet as pq
import pytest
from matplotlib import pyplot

from quadrat import open_predictions
from quadrat.errors import ResultsError
from quadrat.results.merge import merge_predictions


@pytest.fixture(autouse=True)
def figures():
    """Draw without a screen, and leave no figure open."""
    mpl.use("Agg")
    yield
    pyplot.close("all")


@pytest.fixture
def predictions(write_result, make_settings, results):
    """Return a function that merges predictions by filename, and opens them."""

    def make(by_name):
        paths = [write_result(filename, values) for filename, values in by_name.items()]
        merge_predictions(paths, [], make_settings().as_dict(), {}, print)
        return open_predictions(results.path)

    return make


def test_notebook_shows_a_table_of_the_images(predictions):
    shown = predictions({"a.tif": np.array([1.5, 12345.678, -2.0]), "b.tif": np.array([0.25])})._repr_html_()
    assert "Predictions of 2 images" in shown
    for cell in ("a.tif", "3", "float64", "-2", "1.235e+04", "b.tif", "0.25"):
        assert f">{cell}</td>" in shown


def test_notebook_shows_type_and_shape_of_arrays(predictions):
    shown = predictions({"a.tif": np.arange(12, dtype=np.float32).reshape(2, 2, 3)})._repr_html_()
    for cell in ("float32, 2 x 3", "0", "11"):
        assert f">{cell}</td>" in shown


def test_notebook_runs_nothing_that_a_name_or_label_holds(predictions):
    shown = predictions({"<script>alert(1)</script>.tif": np.array(["<img src=x onerror=alert(1)>"])})
    html = shown._repr_html_()
    assert "<script" not in html
    assert "<img" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;.tif" in html
    assert ">label</td>" in html


def test_notebook_counts_the_images_that_it_does_not_show(predictions):
    shown = predictions({f"{number}.tif": np.array([1.0]) for number in range(14)})._repr_html_()
    assert shown.count("<tr>") == 11
    assert "and 4 more images" in shown


def test_dictionary_without_images_is_shown_too(predictions):
    assert "Predictions of 0 images" in predictions({})._repr_html_()


def test_picture_lies_in_the_pixels_of_the_image(predictions):
    ax = predictions({"a.tif": np.array([1.0, 2.0, 4.0])}).plot("a.tif")
    (picture,) = ax.get_images()
    np.testing.assert_array_equal(picture.get_array(), [[1, 2, 4]])
    assert picture.get_extent() == [0, 3 * 512, 512, 0]
    assert ax.get_title() == "a.tif"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x (px)", "y (px)")


def test_picture_is_drawn_where_it_is_asked_for(predictions):
    _, axes = pyplot.subplots(1, 2)
    opened = predictions({"a.tif": np.array([1.0, 2.0])})
    assert opened.plot("a.tif", ax=axes[1]) is axes[1]
    assert axes[0].get_images() == []


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (2, 2), ((1,), 1)])
def test_picture_of_an_array_shows_the_value_asked_for(predictions, value, expected):
    values = np.arange(12.0).reshape(4, 3)
    ax = predictions({"a.tif": values}).plot("a.tif", value)
    np.testing.assert_array_equal(ax.get_images()[0].get_array()[0], values[:, expected])


def test_picture_of_labels_has_a_legend_that_takes_nothing_for_a_formula(predictions):
    ax = predictions({"$a$.tif": np.array(["snow", "$ice$", "snow"])}).plot("$a$.tif")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [r"\$ice\$: 1", "snow: 2"]
    colors = [tuple(patch.get_facecolor()) for patch in ax.get_legend().get_patches()]
    picture = ax.get_images()[0]
    drawn = [tuple(color) for color in picture.to_rgba(picture.get_array())[0]]
    assert drawn == [colors[1], colors[0], colors[1]]
    ax.figure.canvas.draw()


def test_picture_of_many_labels_names_those_that_have_a_colour_of_their_own(predictions):
    labels = np.array([f"label {number}" for number in range(9)])
    opened = predictions({"a.tif": labels, "b.tif": [None], "c.tif": labels[:1]})
    texts = [text.get_text() for text in opened.plot("a.tif").get_legend().get_texts()]
    assert texts == [f"label {number}: 1" for number in range(7)] + ["2 other classes: 2"]
    assert opened.plot("b.tif").get_legend().get_texts() == []


@pytest.mark.parametrize(
    ("grid", "extent"),
    [
        ({"stride": 20}, [6, 6 + 6 * 20, 6 + 4 * 20, 6]),
        # The second column lies 8 px from the first, since it ends with the image.
        ({"stride": 100, "patch_size": 132, "edge": "shift"}, [16, 16 + 2 * 100, 16 + 100, 16]),
    ],
)
def test_drawn_cells_are_as_large_as_the_distance_of_patches(
    make_task, write_tiff, results, make_settings, grid, extent
):
    from quadrat.jobs.predict import predict_image

    image = write_tiff("a.tif", height=132 if "edge" in grid else 100, width=140)
    output = results.version_path("a.tif", "0123456789ab")
    predict_image(make_task(image.path, output=output, **grid))
    merge_predictions([output], [], make_settings().as_dict(), {}, print)
    ax = open_predictions(results.path).plot("a.tif")
    assert ax.get_images()[0].get_extent() == extent


def test_dictionary_without_grids_is_opened_and_only_its_pictures_are_refused(predictions, results):
    values = np.array([1.0, 2.0, 4.0])
    predictions({"a.tif": values})
    table = pq.read_table(results.predictions)
    footer = json.loads(pq.read_metadata(results.predictions).metadata[b"quadrat"])
    for name in ("grid", "downsample"):
        del footer["images"]["a.tif"][name]
    pq.write_table(table.replace_schema_metadata({"quadrat": json.dumps(footer)}), results.predictions)
    opened = open_predictions(results.path)
    assert opened["a.tif"] == values.tolist()
    assert opened.grid("a.tif").tolist() == [values.tolist()]
    with pytest.raises(
        ResultsError, match=r"the grid of a\.tif, .* earlier version .*; run the workflow again"
    ):
        opened.plot("a.tif")
