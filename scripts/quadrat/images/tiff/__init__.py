"""TIFF: from its segments to pixels."""
