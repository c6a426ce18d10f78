import json

import jsonschema
import pyarrow.parquet as pq
import pytest

from quadrat.exports import qupath

# What QuPath reads, as its class PathObjectTypeAdapters (0.4 and later) does: a FeatureCollection whose
# features have a geometry, an objectType, a classification with a name and perhaps a colour, and
# measurements as an object of numbers. Geometries are RFC 7946's: rings are closed.
POSITION = {"type": "array", "minItems": 2, "maxItems": 2, "items": {"type": "number"}}
SCHEMA = {
    "type": "object",
    "required": ["type", "features"],
    "additionalProperties": False,
    "properties": {
        "type": {"const": "FeatureCollection"},
        "features": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["type", "geometry", "properties"],
                "additionalProperties": False,
                "properties": {
                    "type": {"const": "Feature"},
                    "id": {"type": "string", "format": "uuid"},
                    "geometry": {
                        "type": "object",
                        "required": ["type", "coordinates"],
                        "properties": {
                            "type": {"const": "Polygon"},
                            "coordinates": {
                                "type": "array",
                                "items": {"type": "array", "minItems": 4, "items": POSITION},
                            },
                        },
                    },
                    "properties": {
                        "type": "object",
                        "required": ["objectType"],
                        "additionalProperties": False,
                        "properties": {
                            "objectType": {"enum": ["annotation", "detection", "tile", "cell", "tmaCore"]},
                            "name": {"type": "string"},
                            "isLocked": {"type": "boolean"},
                            "classification": {
                                "type": "object",
                                "required": ["name"],
                                "additionalProperties": False,
                                "properties": {
                                    "name": {"type": "string"},
                                    "color": {"type": "array", "items": {"type": "integer"}},
                                },
                            },
                            "measurements": {
                                "type": "object",
                                "additionalProperties": {"type": "number"},
                            },
                        },
                    },
                },
            },
        },
    },
}


@pytest.fixture
def export(image_result, tmp_path):
    """Return a function that exports a scene, and returns its features and the stored table."""

    def write(model="scalar", labels=(), **options):
        qupath.write(image_result(model, labels, **options), tmp_path / "out.geojson")
        collection = json.loads((tmp_path / "out.geojson").read_text("utf-8"))
        jsonschema.validate(collection, SCHEMA)
        stored = pq.read_table(tmp_path / "results/versions/scene.tif.0123456789ab.parquet")
        return collection["features"], stored.to_pylist()

    return write


@pytest.mark.parametrize("scene", ["rotated", "plain"])
def test_squares_are_in_pixels_of_level_0_wherever_the_image_lies(export, scene):
    features, stored = export(scene=scene)
    assert len(features) == len(stored) == 12
    for feature, patch in zip(features, stored, strict=True):
        x, y = patch["x"], patch["y"]
        ring = [[x, y], [x + 32, y], [x + 32, y + 32], [x, y + 32], [x, y]]
        assert feature["geometry"]["coordinates"] == [ring]


def test_number_is_a_measurement(export):
    features, stored = export("integer")
    for feature, patch in zip(features, stored, strict=True):
        expected = {"objectType": "detection", "measurements": {"prediction": patch["prediction"]}}
        assert feature["properties"] == expected


def test_boolean_is_measured_as_0_or_1(export):
    features, stored = export("boolean")
    measured = [feature["properties"]["measurements"]["prediction"] for feature in features]
    assert measured == [int(patch["prediction"]) for patch in stored]


def test_label_is_the_class(export):
    features, stored = export("label", labels=["=water", "<b>ice</b>", "snow"])
    for feature, patch in zip(features, stored, strict=True):
        expected = {"objectType": "detection", "classification": {"name": patch["prediction"]}}
        assert feature["properties"] == expected


def test_the_largest_of_labelled_values_gives_the_class_and_all_are_measurements(export):
    labels = ["red", "green", "blue"]
    features, stored = export("vector", labels=labels)
    for feature, patch in zip(features, stored, strict=True):
        measurements = dict(zip(labels, patch["prediction"], strict=True))
        assert feature["properties"]["measurements"] == measurements
        best = max(measurements, key=measurements.get)
        assert feature["properties"]["classification"] == {"name": best}


def test_values_without_labels_have_no_class(export):
    features, stored = export("vector")
    for feature, patch in zip(features, stored, strict=True):
        assert "classification" not in feature["properties"]
        numbered = {f"prediction {n}": value for n, value in enumerate(patch["prediction"], start=1)}
        assert feature["properties"]["measurements"] == numbered


def test_skipped_patches_are_left_out(export):
    features, stored = export("vector", skipped=[0, 5])
    kept = [patch for patch in stored if patch["skipped"] is None]
    corners = [feature["geometry"]["coordinates"][0][0] for feature in features]
    assert corners == [[patch["x"], patch["y"]] for patch in kept]
    assert len(features) == 10


def test_nan_is_a_missing_measurement_and_gives_no_class(export):
    features, _ = export("nan", labels=["a", "b"])
    assert [feature["properties"] for feature in features] == [
        {"objectType": "detection", "measurements": {"b": 0.5}}
    ] * 12
