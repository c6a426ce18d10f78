"""Show where the dictionary of each results folder is, and how it begins.

``python examples/show.py results/great_salt_lake results/mixed_formats``
"""

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from quadrat import open_predictions
from quadrat.errors import QuadratError

IMAGES_SHOWN = 6
VALUES_SHOWN = 3


def dictionary_lines(predictions: Any) -> Iterator[str]:
    """Return the first lines of a dictionary as Python writes it, with long lists cut short.

    Parameters
    ----------
    predictions : mapping of str to list
        Filename to the prediction of each patch.

    Yields
    ------
    str
    """
    yield "{"
    for filename in islice(predictions, IMAGES_SHOWN):
        yield f"  {filename!r}: {shortened(predictions[filename])},"
    if len(predictions) > IMAGES_SHOWN:
        yield f"  ... and {len(predictions) - IMAGES_SHOWN} more images"
    yield "}"


def shortened(value: Any) -> str:
    """Write a prediction, or a list of them, with few digits and few items.

    Parameters
    ----------
    value : Any
        A number is rounded, a long list is cut and tells its length, anything else is written as it is.

    Returns
    -------
    str
    """
    if isinstance(value, float):
        return f"{value:.4g}"
    if not isinstance(value, list):
        return repr(value)
    # Cutting only one or two items would save nothing.
    cut = len(value) > VALUES_SHOWN + 2
    items = [shortened(item) for item in (value[:VALUES_SHOWN] if cut else value)]
    return f"[{', '.join(items)}{f', ... {len(value)} in all' if cut else ''}]"


def main(folders: list[str]) -> None:
    """Print the dictionary of each results folder."""
    for folder in folders:
        try:
            predictions = open_predictions(folder)
        except QuadratError as error:
            raise SystemExit(f"show: {error}") from None
        # A dictionary too long for JSON is in the Parquet file alone.
        files = [path for path in Path(folder).glob("predictions.*") if path.suffix in (".json", ".parquet")]
        print(f"\n{' and '.join(map(str, sorted(files)))}; open_predictions({folder!r}) gives:")
        for line in dictionary_lines(predictions):
            print(line)


if __name__ == "__main__":
    main(sys.argv[1:] or ["results"])
