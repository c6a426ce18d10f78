"""Fixtures of the tests of jobs."""

import pytest


@pytest.fixture
def user_code(write_model):
    """Return a function from a user's source to the configuration of its predictor."""

    def configure(source, name="predict_patch", **changes):
        source = f"import numpy as np\n{source}"
        return {"kind": "python", "path": write_model(source), "name": name} | changes

    return configure
