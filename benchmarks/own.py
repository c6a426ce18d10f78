"""Own parts: quadrat from its reader to the whole job of an image, and the limit that binds them.

As peers do, each does its work before it returns an iterable of the means of the patches in row-major order,
or of nothing where it gives none, and imports only what it needs.
"""

import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from layouts import PATCH

# Smaller pieces cost a thread more to take than to decode.
PIECE_BYTES = 1 << 19


def limit(path: str, threads: int) -> list[float]:
    """Decode every stored segment once and drop it: no reader can do less."""
    if path.endswith(".tif"):
        _decode_segments(path, threads)
    else:
        import imagecodecs

        with open(path, "rb") as file:
            data = file.read()
        decode = imagecodecs.jpeg8_decode if path.endswith(".jpg") else imagecodecs.png_decode
        decode(data)
    return []


def _decode_segments(path: str, threads: int) -> None:
    import tifffile

    from quadrat.images.tiff.codecs import LzwDecoder

    with tifffile.TiffFile(path) as tif, ThreadPoolExecutor(threads) as pool:
        page, file = tif.pages.first, tif.filehandle.fileno()
        tables = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader} if page.jpegtables else {}
        # What quadrat's reader uses too: the fastest decoder of LZW that there is here.
        lzw = LzwDecoder(page) if LzwDecoder.can_decode(page) else None
        segments = list(zip(range(len(page.dataoffsets)), page.dataoffsets, page.databytecounts, strict=True))

        def decode(some: list[tuple[int, int, int]]) -> None:
            for index, offset, count in some:
                data = os.pread(file, count, offset)
                if lzw:
                    lzw.decode(data, page.tilelength)
                else:
                    page.decode(data, index, **tables)

        def read(start: int) -> None:
            os.pread(file, PIECE_BYTES, start)

        if page.compression == 1:
            end = page.dataoffsets[-1] + page.databytecounts[-1]
            done = pool.map(read, range(page.dataoffsets[0], end, PIECE_BYTES))
        else:
            step = max(1, PIECE_BYTES * len(segments) // page.nbytes)
            done = pool.map(decode, [segments[at : at + step] for at in range(0, len(segments), step)])
        for _ in done:
            pass


def reader(path: str, threads: int) -> list[float]:
    """Stream all patches through quadrat's reader and look at none."""
    for _ in _quadrat_runs(path, threads):
        pass
    return []


def reader_mean(path: str, threads: int) -> list[float]:
    """Stream all patches through quadrat's reader into its predictor of means."""
    from quadrat.predictors.statistics import StatisticsPredictor

    predictor = StatisticsPredictor()
    return [mean for run in _quadrat_runs(path, threads) for mean in predictor.predict(run.patches).tolist()]


def _quadrat_runs(path: str, threads: int) -> Iterator:
    from quadrat.grid import PatchGrid
    from quadrat.images.open import open_image
    from quadrat.patches.stream import stream_patches

    with open_image(path) as image:
        grid = PatchGrid(image.info.height, image.info.width, PATCH, PATCH)
        yield from stream_patches(image.reader(), grid, threads)


def job(path: str, threads: int) -> Iterator[float]:
    """Run quadrat's whole job of an image: hash it, stream it, take the means, store the result."""
    return predict_stored(path, threads, {"kind": "mean"})


def predict_stored(path: str, threads: int, predictor: dict[str, Any]) -> Iterator[float]:
    """Run the job of an image with a predictor, and give the predictions that it stored."""
    from quadrat.jobs.predict import predict_image
    from quadrat.jobs.task import ImageTask
    from quadrat.settings import ReadSettings

    folder = tempfile.TemporaryDirectory()
    output = os.path.join(folder.name, "predictions.parquet")
    predict_image(
        ImageTask(
            filename=os.path.basename(path),
            path=path,
            version="0" * 12,
            content_id="0" * 12,
            reading=ReadSettings(patch_size=PATCH, stride=PATCH),
            predictor=predictor,
            output=output,
            threads=threads,
        )
    )
    return _stored(folder, output)


def _stored(folder: tempfile.TemporaryDirectory, output: str) -> Iterator[float]:
    import pyarrow.parquet as pq

    with folder:
        # pyarrow.parquet.read_table would import pandas, whose memory is not the job's.
        yield from pq.ParquetFile(output).read(["prediction"])["prediction"].to_pylist()
