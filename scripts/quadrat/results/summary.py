"""The summary tables: counts, area and statistics of each image, and of each region in it."""

import math
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from quadrat.files.text import table_bytes, visible
from quadrat.results.columns import as_numpy, flat_values
from quadrat.results.result import Result

COUNTS = ("patches", "predicted", "nan", "area_m2", "area_mm2")
# More values of a prediction, such as an embedding, or more labels would make thousands of columns.
MOST_VALUES, MOST_LABELS = 16, 256
# Numbers that are summed at a time: as a list they take four times the memory.
STEP = 1 << 16


class Region(NamedTuple):
    """A region of an image.

    Attributes
    ----------
    number : int
        Its place in its file, counted from 1.
    name, class_name : str
        Empty if the file does not contain them.
    patches : (n,) int array
        The rows of the result whose patches it contains.
    """

    number: int
    name: str
    class_name: str
    patches: np.ndarray


Measure = Callable[[Result, pa.Table], tuple[str, np.ndarray] | None]
Locate = Callable[[Result], Iterable[Region]]


class SummaryTables:
    """Collects the rows of both tables while the dictionary is written.

    Parameters
    ----------
    predictor : dict
        Its configuration.
    measure : callable, optional
        Takes a result and its rows. Returns a column, 'area_m2' or 'area_mm2', and the area of each patch;
        None if the image has no scale.
    locate : callable, optional
        Returns the regions of a result. Default: it has none.
    """

    def __init__(
        self,
        predictor: dict[str, Any],
        measure: Measure | None = None,
        locate: Locate | None = None,
    ):
        self._predictor, self._measure, self._locate = predictor, measure, locate
        self._known = list(map(str, predictor.get("labels") or ()))
        self._are_classes = bool(predictor.get("argmax"))
        self._found: set[str] = set()
        # In the order in which they came: images may have predictions of several shapes.
        self._columns: dict[str, None] = {}
        self._images: dict[str, dict[str, Any]] = {}
        self._regions: list[tuple[list[Any], dict[str, Any]]] = []

    def add(self, result: Result, table: pa.Table) -> None:
        """Add the rows of an image.

        Parameters
        ----------
        result : Result
            One that is `ok`.
        table : pyarrow.Table
            All of its rows.
        """
        is_predicted = as_numpy(table["prediction"].is_valid())
        place = np.cumsum(is_predicted) - 1
        describe = self._describe(result, table["prediction"])
        measured = self._measure and self._measure(result, table)

        def row(patches: np.ndarray) -> dict[str, Any]:
            predicted = patches[is_predicted[patches]]
            area = {measured[0]: total(measured[1][predicted])} if measured else {}
            counts = {"patches": len(patches), "predicted": len(predicted), "nan": 0}
            return counts | area | describe(place[predicted])

        self._images[result.filename] = row(np.arange(len(table)))
        for number, name, class_name, patches in self._locate(result) if self._locate else ():
            self._regions.append(([result.filename, number, name, class_name], row(patches)))

    def of_images(self, results: Iterable[Result]) -> bytes:
        """Return the table of images as text; images without predictions have a row, too."""
        nothing = {"patches": 0, "predicted": 0}
        rows = (
            ([result.filename, result.status], self._images.get(result.filename, nothing))
            for result in results
        )
        return self._table(["filename", "status"], rows)

    def of_regions(self) -> bytes:
        """Return the table of regions as text."""
        return self._table(["filename", "region", "name", "class"], self._regions)

    def _table(self, header: list[str], rows: Iterable[tuple[list[Any], dict[str, Any]]]) -> bytes:
        # Classes are numbers.
        others = sorted(
            self._found.difference(self._known), key=lambda label: (self._are_classes and len(label), label)
        )
        labels = [*self._known, *others] if self._found else []
        shares = [f"share_{label}" for label in labels] if len(labels) <= MOST_LABELS else []
        columns = [*COUNTS, *self._columns]
        lines = (
            [*head, *(row.get(name, "") for name in columns)]
            + [row.get(name, 0.0 if row["predicted"] else "") for name in shares]
            for head, row in rows
        )
        return table_bytes([*header, *columns, *map(visible, shares)], lines)

    def _describe(self, result: Result, column: pa.ChunkedArray) -> Callable[[np.ndarray], dict[str, Any]]:
        """Return the function that describes some of the predictions of an image."""
        if pa.types.is_null(column.type):
            return lambda places: {}
        values = flat_values(column)
        if self._are_classes and not result.shape and not result.is_text:
            values = values.cast(pa.string())
        if not pa.types.is_string(values.type):
            return self._describe_numbers(result, as_numpy(values))
        codes = values.dictionary_encode()
        labels = codes.dictionary[: MOST_LABELS + 1].to_pylist()
        if not result.shape:
            self._found.update(labels)
        if result.shape or len(self._found) > MOST_LABELS:
            return lambda places: {}
        indices = as_numpy(codes.indices)

        def shares(places: np.ndarray) -> dict[str, Any]:
            counts = np.bincount(indices[places], minlength=len(labels)).tolist()
            named = zip(labels, counts, strict=True)
            return {f"share_{label}": count / len(places) for label, count in named if count}

        return shares

    def _describe_numbers(self, result: Result, values: np.ndarray) -> Callable[[np.ndarray], dict[str, Any]]:
        values = values.reshape(-1, max(1, math.prod(result.shape)))
        is_nan = np.isnan(values).any(axis=1) if values.dtype.kind == "f" else np.zeros(len(values), bool)
        functions: dict[str, Callable[[np.ndarray], Any]] = {
            "mean": mean,
            "std": deviation,
            "min": lambda numbers: numbers.min().item(),
            "max": lambda numbers: numbers.max().item(),
        }
        names = [f"_{name}" for name in self._value_names(result)] if result.shape else [""]
        if values.dtype.kind == "b":
            values = values.view(np.uint8)
        if pa.types.is_boolean(result.value_type) and not result.shape:
            functions = {"share_true": mean}
        names = names if len(names) <= MOST_VALUES else []
        self._columns |= dict.fromkeys(f"{function}{name}" for name in names for function in functions)

        def statistics(places: np.ndarray) -> dict[str, Any]:
            found: dict[str, Any] = {"nan": int(is_nan[places].sum())}
            for number, name in enumerate(names):
                numbers = values[places, number]
                numbers = numbers[numbers == numbers]  # NaN is not
                if len(numbers):
                    found |= {f"{key}{name}": function(numbers) for key, function in functions.items()}
            return found

        return statistics

    def _value_names(self, result: Result) -> list[str]:
        """Return the name of each value of an array: a statistic and its channel, a label, or a number."""
        if result.names:  # of the bands of a scene, as in maps and exports
            return [name.replace(" ", "_") for name in result.value_names]
        if self._predictor["kind"] != "statistics":
            return result.value_names
        of, names = self._predictor.get("of", "mean"), []
        for name in [of] if isinstance(of, str) else of:
            bins = self._predictor["bins"] if name == "histogram" else 0
            names += [f"{name}_{number + 1}" for number in range(bins)] or [name]
        if not self._predictor.get("per_channel"):
            return names
        channels = math.prod(result.shape) // len(names)
        return [f"{name}_{channel + 1}" for channel in range(channels) for name in names]


def mean(numbers: np.ndarray) -> float:
    """Return the mean as float64, which does not depend on the order of the numbers."""
    return total(numbers) / len(numbers)


def deviation(numbers: np.ndarray) -> float:
    """Return the standard deviation of the numbers as a whole, divided by their count, as numpy.std does."""
    with np.errstate(all="ignore"):  # the deviation from infinity is NaN
        return math.sqrt(total((numbers - np.float64(mean(numbers))) ** 2) / len(numbers))


def total(numbers: np.ndarray) -> float:
    """Return the sum as float64, rounded once, so that it does not depend on the order of the numbers."""
    parts = (numbers[start : start + STEP] for start in range(0, len(numbers), STEP))
    try:
        return float(math.fsum(chain.from_iterable(part.astype(np.float64).tolist() for part in parts)))
    except (OverflowError, ValueError):  # it is infinite, or infinity minus infinity
        with np.errstate(all="ignore"):
            return float(np.sum(numbers, dtype=np.float64))
