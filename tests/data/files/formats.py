"""Files in the published formats, written from their specifications, for the tests of readers."""

import gzip
import struct

import numpy as np

RNG = np.random.default_rng(0)


def pictures(*shape):
    return RNG.integers(0, 256, shape, dtype=np.uint8)


# IDX: 0, 0, type, number of axes; sizes as big-endian int32; values, big-endian.

IDX_TYPES = {"uint8": 8, "int8": 9, "int16": 11, "int32": 12, "float32": 13, "float64": 14}


def idx(array):
    header = bytes([0, 0, IDX_TYPES[array.dtype.name], array.ndim]) + struct.pack(
        f">{array.ndim}i", *array.shape
    )
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_zipped(path, content):
    path.write_bytes(gzip.compress(content, 1))


def first_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
