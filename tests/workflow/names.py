"""File names that would do something if a shell, a scheduler or Snakemake read them as more than a name."""

import random
import string
from itertools import cycle

import numpy as np
import tifffile

from studies import PATCH_SIZE

# What leaves a file of this name behind where it is run.
RAN = "ran"
COMMANDS = (
    f"$(touch {RAN})",
    f"`touch {RAN}`",
    f"';touch {RAN};'",
    f'";touch {RAN};"',
    f"' $(touch {RAN}) '",
    f'" `touch {RAN}` "',
    f"&&touch {RAN}&",
    f"||touch {RAN}|",
    f"\\$(touch {RAN})",
    f"\\';touch {RAN};#",
    f"\ntouch {RAN}\n",
    f"{{touch,{RAN}}}",
    "%20a%j%A",
    "$IFS$HOME~",
    "<key>{wildcards.key}",
    " #!*?[a]^-",
)
PRINTABLE = "".join(sorted(set(string.printable) - set("/\t\n\r\v\f")))


def awkward_names(count: int, seed: int = 0) -> list[str]:
    """Make file names of commands and of all printable ASCII characters, always the same ones for a seed."""
    choose = random.Random(seed)
    pieces = [PRINTABLE[place : place + 12] for place in range(0, len(PRINTABLE), 12)]
    names = [f"{command}{piece}.tif" for command, piece in zip(COMMANDS, cycle(pieces))]
    while len(names) < count:
        parts = [choose.choice(COMMANDS), "".join(choose.choices(PRINTABLE, k=8)), choose.choice(COMMANDS)]
        names.append("".join(choose.sample(parts, 3)) + ".tif")
    return names[:count]


def write_named(folder, names) -> dict[str, list[float]]:
    """Write a small image under each name, and return the dictionary that its run is to make."""
    expected = {}
    for value, name in enumerate(names):
        tifffile.imwrite(folder / name, np.full((PATCH_SIZE, PATCH_SIZE), value % 256, np.uint8))
        expected[name] = [float(value % 256)]
    return expected


def require_harmless(study, expected):
    """Require that nothing of a name ran, and that each image is in the dictionary or a listed failure."""
    assert not list(study.path.rglob(RAN))
    refused = {name for name in expected if "\n" in name}  # a line of a table cannot hold it
    assert study.dictionary == {name: values for name, values in expected.items() if name not in refused}
    table = (study.results / "images.tsv").read_text()
    assert table.count("\tfailed\t") == len(refused)
