"""The grid of patches that is laid over one image."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

EDGES = ("drop", "pad", "partial", "shift")


class Window(NamedTuple):
    """A rectangle of pixels of the level that is read; it may reach past the image's bottom and right."""

    y: int
    x: int
    height: int
    width: int


@dataclass(frozen=True)
class PatchGrid:
    """All windows of one image, in row-major order.

    Parameters
    ----------
    height, width : int
        Size of the image at the level that is read, in pixels.
    patch_size : int
        Height and width of a patch in pixels.
    stride : int
        Distance between the origins of neighbouring patches in pixels.
    edge : {'drop', 'pad', 'partial', 'shift'}
        The rule for the last patch of a row or column if it does not fit: it is left out, it is kept and its
        window reaches past the image, its window is cut at the image, or its window is moved inside the image
        (an image that is smaller than a patch then has no patch).

    Raises
    ------
    ValueError
        If a size is not positive or `edge` is unknown.
    """

    height: int
    width: int
    patch_size: int = 512
    stride: int = 512
    edge: str = "drop"

    def __post_init__(self):
        for name in ("height", "width", "patch_size", "stride"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1 px")
        if self.edge not in EDGES:
            raise ValueError(f"edge is {self.edge!r}; it must be one of {', '.join(EDGES)}")

    @property
    def ys(self) -> list[int]:
        """Top of each grid row, in pixels."""
        return [*self._whole(self.height), *self._last(self.height)]

    @property
    def xs(self) -> list[int]:
        """Left of each grid column, in pixels."""
        return [*self._whole(self.width), *self._last(self.width)]

    @property
    def rows(self) -> int:
        """Number of grid rows."""
        return len(self._whole(self.height)) + len(self._last(self.height))

    @property
    def cols(self) -> int:
        """Number of grid columns."""
        return len(self._whole(self.width)) + len(self._last(self.width))

    def __len__(self) -> int:
        return self.rows * self.cols

    def _whole(self, length: int) -> range:
        """Origins of the patches that fit in a length."""
        return range(0, length - self.patch_size + 1, self.stride)

    def _last(self, length: int) -> list[int]:
        """Origin of the patch that does not fit, if it is kept."""
        whole = self._whole(length)
        following = len(whole) * self.stride
        covered = whole[-1] + self.patch_size if whole else 0
        if self.edge == "drop" or covered >= length or following >= length:
            return []
        if self.edge == "shift":
            return [length - self.patch_size] if whole else []
        return [following]

    def extent(self, origin: int, length: int) -> int:
        """Size in pixels, along one axis of `length` pixels, of the window that starts at `origin`."""
        return min(self.patch_size, length - origin) if self.edge == "partial" else self.patch_size

    def windows(self) -> Iterator[Window]:
        """Yield the window of each patch in row-major order."""
        for y in self.ys:
            for x in self.xs:
                yield Window(y, x, self.extent(y, self.height), self.extent(x, self.width))

    @property
    def dropped(self) -> float:
        """Share of the image's pixels, 0 to 1, that lie beyond the last patch of their row or column.

        Gaps between patches, from a stride larger than the patch, are wanted and do not count.
        """
        kept = self._reach(self.ys, self.height) * self._reach(self.xs, self.width)
        return 1 - kept / (self.height * self.width)

    def _reach(self, origins: list[int], length: int) -> int:
        return min(length, origins[-1] + max(self.patch_size, self.stride)) if origins else 0
