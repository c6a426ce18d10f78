import os
from dataclasses import replace

import pytest

from quadrat.files.hashing import digest
from quadrat.plan.plan import make_plan
from quadrat.plan.trial import awaited_trial, forget_trials
from quadrat.results.merge import merge_predictions

OUTLINE = '{"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}'


@pytest.fixture
def plan(make_settings, images, write_model):
    """Return a function that plans some images, which are predicted by a user's code."""
    code = {"kind": "python", "path": write_model("..."), "name": "predict_patch"}

    def make(count=2, predictor=code, **config):
        for index in range(count):
            (images / f"{index}.tif").write_bytes(b"%d" % index)
        return make_plan(make_settings(predictor=predictor, **config), lambda line: None)

    return make


def mark_of(plan, results):
    return results.trial_mark(digest(plan.recipe))


def test_several_images_wait_for_the_trial_of_a_predictor_of_the_users_own(plan, results):
    planned = plan()
    assert awaited_trial(planned) == [mark_of(planned, results)]


def test_no_trial_is_made_that_could_not_pay(plan):
    assert awaited_trial(plan(1)) == []
    assert awaited_trial(plan(3, "mean")) == []


def test_regions_are_tried_whatever_predicts(plan, tmp_path, results):
    (tmp_path / "areas.geojson").write_text(OUTLINE)
    planned = plan(2, "mean", regions=str(tmp_path / "areas.geojson"))
    assert awaited_trial(planned) == [mark_of(planned, results)]


def test_what_was_tried_once_is_not_tried_again(plan, results):
    planned = plan()
    mark = mark_of(planned, results)
    os.makedirs(os.path.dirname(mark))
    with open(mark, "w") as file:
        file.write("0.tif")
    forget_trials(planned)
    assert awaited_trial(planned) == []
    assert awaited_trial(plan(5)) == []
    assert awaited_trial(plan(5, patch_size=64))


def test_trial_that_predicted_no_image_is_made_again(plan, results):
    planned = plan()
    mark = mark_of(planned, results)
    os.makedirs(os.path.dirname(mark))
    open(mark, "w").close()
    assert awaited_trial(planned) == [mark]
    forget_trials(planned)
    assert not os.path.exists(mark)


def test_refusal_of_the_last_run_is_removed(plan, results):
    planned = plan()
    with open(results.refusal, "w") as file:
        file.write("quadrat: predictor: no")
    forget_trials(planned)
    assert not os.path.exists(results.refusal)


@pytest.mark.parametrize(("failure", "is_tried"), [(None, False), ({"kind": "data"}, True)])
def test_recipe_that_images_were_predicted_by_needs_no_trial(plan, write_result, results, failure, is_tried):
    planned = plan()
    failure = failure and failure | {"message": "m", "hint": ""}
    stored = write_result("0.tif", [1.0], failure=failure)
    open(results.run, "w").close()
    merge_predictions([stored], [], planned.settings.as_dict(), planned.recipe, print)
    assert bool(awaited_trial(planned)) == is_tried
    assert awaited_trial(replace(planned, recipe=planned.recipe | {"stride": 1}))
