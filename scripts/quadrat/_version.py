"""The versions of quadrat and of its results."""

# The only source of the version; setuptools reads it from here without importing anything.
__version__ = "0.1.0"

# Part of each result's name: raise it when the same image and configuration lead to other results.
RESULTS_VERSION = 2
