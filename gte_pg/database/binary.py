"""Arrays of vectors in Postgres' binary format, built in one shot with NumPy.

As text, or one value at a time, the same arrays are an order of magnitude slower to send.
Layouts: `array_send` (ndim, has-null flag, element type, length, lower bound, then each element with
its size), pgvector's `vector_send`, `halfvec_send` and `sparsevec_send`; all big-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format
from psycopg.types import TypeInfo

from gte_pg.database.connect import Connection
from gte_pg.errors import DatabaseError


class BinaryArray(bytes):
    """An array in wire format. The server takes its type from the cast: `%b::halfvec[]`."""


class _BinaryArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: BinaryArray) -> Buffer:
        return bytes(obj)


def adapt_binary_arrays(context: AdaptContext) -> None:
    """Let a connection send `BinaryArray` parameters."""
    assert context.adapters is not None
    context.adapters.register_dumper(BinaryArray, _BinaryArrayDumper)


def type_oid(connection: Connection, name: str) -> int:
    """Return the oid of a type, which the header of an array of it must name."""
    info = TypeInfo.fetch(connection, name)
    if info is None:
        raise DatabaseError(f"this database has no type {name}: run gte-pg init first")
    return info.oid


def vector_array(matrix: NDArray[np.float32], oid: int, *, half: bool) -> BinaryArray:
    """Return the rows of `matrix` (n, dimensions) as a `vector[]`, or a `halfvec[]`."""
    rows, dimensions = matrix.shape
    number = ">f2" if half else ">f4"
    element = np.dtype(
        [("size", ">i4"), ("dim", ">i2"), ("unused", ">i2"), ("x", number, dimensions)]
    )
    block = np.zeros(rows, element)
    block["size"] = element.itemsize - 4
    block["dim"] = dimensions
    block["x"] = matrix
    return BinaryArray(_array_header(rows, oid) + block.tobytes())


def sparse_array(
    rows: Sequence[tuple[NDArray[Any], NDArray[Any]]], dimensions: int, oid: int
) -> BinaryArray:
    """Return rows of (ascending indices from 0, weights) as a `sparsevec[]`."""
    elements = [_array_header(len(rows), oid)]
    for indices, weights in rows:
        elements.append(struct.pack(">iiii", 12 + 8 * len(indices), dimensions, len(indices), 0))
        elements.append(indices.astype(">i4").tobytes())
        elements.append(weights.astype(">f4").tobytes())
    return BinaryArray(b"".join(elements))


def _array_header(length: int, oid: int) -> bytes:
    if length == 0:
        return struct.pack(">iiI", 0, 0, oid)
    return struct.pack(">iiIii", 1, 0, oid, length, 1)
