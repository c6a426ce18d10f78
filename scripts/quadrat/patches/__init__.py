"""Patches: from the pixels of an image to the patches that are predicted."""
