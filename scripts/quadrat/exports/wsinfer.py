"""CSV in WSInfer's columns, for programs that read its outputs."""

import csv
from pathlib import Path

from quadrat.errors import ResultsError
from quadrat.results.result import Result

PLACE = ("minx", "miny", "width", "height")


def write(result: Result, path: Path) -> None:
    """Write the patches of an image that were predicted, a row each.

    Parameters
    ----------
    result : Result
    path : Path

    Raises
    ------
    ResultsError
        If predictions are not numbers.

    References
    ----------
    WSInfer 0.6, User Guide, "Outputs of model inference": minx, miny, width and height in level-0 pixels,
    and `prob_` with the name of the class for each class.
    """
    if result.is_text:
        raise ResultsError(
            f"{result.filename}: predictions are labels, but WSInfer's columns contain probabilities; "
            "use snakemake qupath"
        )
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*PLACE, *(f"prob_{name}" for name in result.value_names)])
        for batch in result.batches():
            kept = ~batch.skipped
            places = batch.windows[kept][:, [1, 0, 3, 2]].tolist()
            values = batch.values[kept].reshape(len(places), len(result.value_names))
            # Numbers of numpy are written with the digits of their own dtype.
            writer.writerows([*place, *row] for place, row in zip(places, values, strict=True))
