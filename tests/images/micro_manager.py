"""Files of Micro-Manager for the tests, written from what the format's readers expect."""

import json
import struct
from itertools import product

INDEX, INDEX_MAP, DISPLAY, COMMENTS, SUMMARY = 54773648, 3453623, 483765892, 99384722, 2355492
DIRECTORY_BYTES = 2 + 13 * 12 + 4


def write_micro_manager(
    path,
    pixels,
    positions=1,
    frames=1,
    slices=1,
    channels=1,
    first_position=0,
    first_frame=0,
    all_positions=None,
):
    """Write a TIFF as Micro-Manager writes it: an index of the planes, and each plane after its directory.

    Parameters
    ----------
    pixels : (plane, height, width) uint8 array
        In the order position, frame, slice, channel.
    positions, frames, slices, channels : int
        Numbers of those that are in the file.
    first_position, first_frame : int
        The numbers, from 0, of the first of them.
    all_positions : int, optional
        How many the whole data set has, whose other files lie beside this one.

    References
    ----------
    Micro-Manager wiki, "Micro-Manager File Formats": the header, the summary in JSON, pairs of directory and
    pixels, and an index map of (channel, slice, frame, position, offset).
    """
    count, height, width = pixels.shape
    summary = json.dumps(
        {
            "MicroManagerVersion": "2.0.0",
            "Prefix": path.name.split("_MMStack")[0],
            "Positions": all_positions or positions,
            "Frames": frames,
            "Slices": slices,
            "Channels": channels,
            "TimeFirst": False,
            "SlicesFirst": False,
        }
    ).encode()
    plane_bytes, metadata = height * width + height * width % 2, b'{"Camera": "none"}\0\0'
    first = 40 + len(summary) + len(summary) % 2
    step = DIRECTORY_BYTES + plane_bytes + 16 + len(metadata)
    starts = [first + step * number for number in range(count)]
    data = bytearray(struct.pack("<4sI2I", b"II*\0", first, INDEX, first + step * count))
    data += struct.pack("<6I", DISPLAY, 0, COMMENTS, 0, SUMMARY, len(summary)) + summary.ljust(first - 40)
    for number, (start, plane) in enumerate(zip(starts, pixels, strict=True)):
        after = start + DIRECTORY_BYTES + plane_bytes
        tags = [
            (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1),
            (273, 4, 1, start + DIRECTORY_BYTES), (277, 3, 1, 1), (278, 3, 1, height),
            (279, 4, 1, height * width),
            (282, 5, 1, after), (283, 5, 1, after + 8), (296, 3, 1, 3), (51123, 2, len(metadata), after + 16),
        ]  # fmt: skip
        data += struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
        data += struct.pack("<I", starts[number + 1] if number + 1 < count else 0)
        data += (
            plane.tobytes().ljust(plane_bytes, b"\0") + struct.pack("<4I", 20_000, 1, 20_000, 1) + metadata
        )
    data += struct.pack("<2I", INDEX_MAP, count)
    order = product(range(positions), range(frames), range(slices), range(channels))
    for start, (position, frame, plane, channel) in zip(starts, order, strict=True):
        data += struct.pack("<5I", channel, plane, first_frame + frame, first_position + position, start)
    path.write_bytes(data)
