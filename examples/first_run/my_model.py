"""The model of the notebook: how rough a patch is."""


def predict_patch(patch):
    """Return the standard deviation of the pixels of a patch."""
    return patch.std()
