import numpy as np
import pytest
from PIL import Image, ImageDraw

from quadrat.images.thumbnail import Thumbnail, blank_thumbnail
from quadrat.results.display import CLASS_COLOURS, OTHER_COLOUR, class_colours
from quadrat.views.map import MOST_PANELS, draw_map, legend, panels
from quadrat.views.patch_map import PatchMap

GREY = Thumbnail(np.full((200, 300, 3), 128, np.uint8), (2.0, 2.0))


@pytest.fixture
def make_map():
    """Return a function from values to the map of an image of 400 x 600 px, 2 x 3 patches."""

    def make(values, names=("prediction",), is_labels=False, skipped=None, filename="north/a.tif"):
        values = np.array(values, float).reshape(2, 3, -1)
        return PatchMap(
            *(filename, 400, 600, None, None),
            ys=np.array([0, 200]),
            heights=np.array([200, 200]),
            xs=np.array([0, 200, 400]),
            widths=np.array([200, 200, 200]),
            values=values,
            names=names,
            is_labels=is_labels,
            skipped=np.full((2, 3), "", object) if skipped is None else np.array(skipped, object),
        )

    return make


@pytest.fixture
def drawn(tmp_path):
    """Return a function that draws a map, and returns its pixels."""

    def draw(patch_map, thumbnail=GREY):
        draw_map(patch_map, thumbnail, tmp_path / "map.png")
        return np.asarray(Image.open(tmp_path / "map.png").convert("RGB")).astype(int)

    return draw


def share(pixels, colour):
    """Return the share of pixels that have a colour, to a few levels."""
    return (np.abs(pixels - np.array(colour)).max(axis=-1) <= 4).mean()


def over_grey(colour):
    """Return a colour as it looks over the pale picture."""
    return 0.72 * np.array(colour) + 0.28 * (90 + 128 * 165 / 255)


VIRIDIS = {0: (68, 1, 84), 1: (253, 231, 37)}
VIRIDIS_AT_30_PERCENT = (53, 95, 141)


def test_numbers_are_drawn_from_the_first_to_the_last_colour_of_the_scale(make_map, drawn):
    pixels = drawn(make_map([0, 0, 0, 0, 1, 1]))
    low, high = (share(pixels, over_grey(VIRIDIS[value])) for value in (0, 1))
    assert low > 0.1
    assert 1.8 < low / high < 2.2


def test_a_patch_without_a_finite_number_is_left_as_the_image_shows_it(make_map, drawn):
    pixels = drawn(make_map([0, np.nan, np.inf, 0, 0, 0]))
    pale = 90 + 128 * 165 / 255
    assert share(pixels, [pale] * 3) / share(pixels, over_grey(VIRIDIS[0])) == pytest.approx(0.5, abs=0.1)


def test_skipped_patches_are_hatched(make_map, drawn):
    values = [0, np.nan, np.nan, 0, 0, 0]
    plain = drawn(make_map(values))
    hatched = drawn(make_map(values, skipped=[["", "nodata", "nodata"], ["", "", ""]]))
    differing = (plain != hatched).any(axis=-1).nonzero()
    middle = plain.shape[1] // 2
    assert len(differing[0]) > 500
    assert differing[1].min() > middle  # on the map, not on the picture beside it


def test_each_label_has_its_colour_and_the_legend_says_whose(make_map, drawn):
    pixels = drawn(make_map([0, 0, 1, 1, 1, 1], ("land", "water"), is_labels=True))
    shares = [share(pixels, over_grey([int(c[i : i + 2], 16) for i in (1, 3, 5)])) for c in CLASS_COLOURS[:3]]
    assert shares[1] / shares[0] == pytest.approx(2, abs=0.2)
    assert shares[2] == 0


def test_classes_beyond_the_colours_share_grey():
    colours = class_colours(len(CLASS_COLOURS) + 2)
    assert colours[:-2] == list(CLASS_COLOURS)
    assert colours[-2:] == [OTHER_COLOUR] * 2


def test_each_number_of_a_prediction_has_a_panel_and_the_panels_are_bounded(make_map, drawn):
    one = drawn(make_map([0.5] * 6)).shape
    four = drawn(make_map([0.5] * 24, tuple("abcd"))).shape
    many = drawn(make_map(np.linspace(0, 1, 6 * 500), tuple(map(str, range(500))))).shape
    assert one[0] < four[0] < many[0] < 2500
    assert one[1] < many[1] < 2500


def test_panels_of_many_numbers_show_those_with_the_largest_means(make_map):
    values = np.zeros((6, 100))
    values[:, [3, 50, 99]] = 1
    shown = panels(make_map(values, tuple(map(str, range(100)))))
    assert len(shown) == MOST_PANELS
    assert {3, 50, 99} <= set(shown)


@pytest.mark.parametrize("filename", ["$x^2$ $\\frac{.tif", "a" * 300 + ".tif", "b\udcff.tif", "日本.tif"])
def test_any_filename_is_drawn(make_map, drawn, filename):
    assert drawn(make_map([0.5] * 6, filename=filename)).shape[1] < 2500


@pytest.mark.parametrize(("height", "width"), [(100, 40_000), (40_000, 100)])
def test_long_images_are_drawn_on_a_picture_of_moderate_size(make_map, drawn, height, width):
    strip = make_map([0, 1, 2, 3, 4, 5])
    strip = PatchMap(**vars(strip) | {"height": height, "width": width})
    assert max(drawn(strip, blank_thumbnail(height, width, "")).shape) < 3000


def test_drawing_twice_gives_the_same_bytes(make_map, tmp_path):
    for name in ("a.png", "b.png"):
        draw_map(make_map([0, 1, 2, 3, 4, 5]), GREY, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_labels_beyond_the_colours_are_counted_together_in_the_legend(make_map):
    texts = [
        text for _, text in legend(make_map([0, 6, 7, 8, 8, np.nan], tuple("abcdefghi"), is_labels=True))
    ]
    assert texts == ["a: 1", *(f"{label}: 0" for label in "bcdef"), "g: 1", "2 other classes: 3"]


def test_image_whose_labels_are_all_skipped_is_hatched_all_over(make_map, drawn):
    pixels = drawn(make_map([np.nan] * 6, (), is_labels=True, skipped=[["nodata"] * 3] * 2))
    assert share(pixels, (90, 90, 90)) > 0.02
    assert share(pixels, [90 + 128 * 165 // 255] * 3) > 0.1


def test_several_labels_of_each_patch_have_a_panel_each(make_map, drawn):
    one, three = (make_map([0, 1] * 3 * count, ("a", "b"), is_labels=True) for count in (1, 3))
    assert drawn(three).shape[0] > 1.5 * drawn(one).shape[0]


def test_each_class_of_the_legend_stands_beside_the_map(make_map, drawn):
    pixels = drawn(make_map([0, 0, 0, 0, 1, 1], ("land", "water"), is_labels=True))
    for name in CLASS_COLOURS[:2]:
        swatch = (pixels == [int(name[i : i + 2], 16) for i in (1, 3, 5)]).all(axis=-1).nonzero()
        assert len(swatch[0]) > 100
        beside = pixels[swatch[0].min() : swatch[0].max(), swatch[1].max() + 1 :]
        assert (beside.max(axis=-1) < 100).sum() > 50  # letters


@pytest.mark.parametrize("label", ["", "a\nb", "word " * 1000, "W" * 1000])
def test_any_label_is_drawn_on_a_picture_of_moderate_size(make_map, drawn, label):
    assert max(drawn(make_map([0] * 6, (label,), is_labels=True)).shape) < 2500


@pytest.mark.parametrize("text", ["дом", "δέλτα", "Größe", "ice, 2 µm"])
def test_letters_of_names_are_in_the_font(make_map, drawn, text):
    boxes = drawn(make_map([0] * 6, filename="\U000f0000" * len(text)))  # no font has this letter
    title = drawn(make_map([0] * 6, filename=text))
    height = 50
    assert (title[:height] < 100).sum() > 100
    assert (title[:height, : boxes.shape[1]] != boxes[:height, : title.shape[1]]).any()


def test_the_scale_of_colours_has_round_values_at_their_heights(make_map, tmp_path, monkeypatch):
    written = {}
    write = ImageDraw.ImageDraw.text

    def kept(draw, place, text, *arguments):
        written[text] = place
        write(draw, place, text, *arguments)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", kept)
    draw_map(make_map([-3, 0, 0, 0, 0, 7]), GREY, tmp_path / "map.png")
    heights = [written[text][1] for text in ("-2", "0", "2", "4", "6")]
    np.testing.assert_allclose(np.diff(heights), np.diff(heights).mean(), atol=1)
    pixels = np.asarray(Image.open(tmp_path / "map.png").convert("RGB")).astype(int)
    bar = pixels[:, int(written["0"][0]) - 15]
    middle = 0.72 * np.array(VIRIDIS_AT_30_PERCENT) + 0.28 * 255
    np.testing.assert_allclose(bar[round(heights[1])], middle, atol=4)


@pytest.mark.parametrize("values", [[-1e308, 1e308] * 3, [-5e-324, 0] * 3, [1e16, 1e16 + 2] * 3])
def test_numbers_at_the_ends_of_floating_point_are_drawn(make_map, drawn, values):
    assert drawn(make_map(values)).shape[1] < 2500


def test_pixels_of_the_picture_are_those_of_the_image(make_map, drawn):
    colours = np.random.default_rng(0).integers(30, 220, (20, 30, 3)).astype(np.uint8)
    pixels = drawn(make_map([0] * 6), Thumbnail(colours, (20.0, 20.0)))
    shown = {
        tuple(pixel) for pixel in np.unique(pixels.reshape(-1, pixels.shape[-1]), axis=0)[:, :3].tolist()
    }
    assert {tuple(colour) for colour in colours.reshape(-1, 3).tolist()} <= shown


def test_what_a_thumbnail_shows_beyond_the_image_is_left_out(make_map, drawn):
    wide = np.full((3, 4, 3), 128, np.uint8)
    wide[:, 3:] = wide[2:] = (255, 0, 0)
    assert share(drawn(make_map([0] * 6), Thumbnail(wide, (200.0, 200.0))), (255, 0, 0)) == 0
