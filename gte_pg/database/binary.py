"""Arrays of vectors in Postgres' binary format, built in one shot with NumPy.

As text, or one value at a time, the same arrays are an order of magnitude slower to send.
Layouts: `array_send` (ndim, has-null flag, element type, length, lower bound, then each element with
its size), pgvector's `vector_send`, `halfvec_send` and `sparsevec_send`; all big-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from psycopg import sql
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format

from gte_pg.database.connect import Connection
from gte_pg.encoder import SparseRows
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


@dataclass(frozen=True, slots=True)
class VectorType:
    """A type of pgvector's: its oid, which the header of an array of it must name, and its full name."""

    oid: int
    name: sql.Identifier


_TYPE = """
SELECT t.oid, n.nspname FROM pg_extension AS e
JOIN pg_namespace AS n ON n.oid = e.extnamespace
JOIN pg_type AS t ON t.typnamespace = n.oid AND t.typname = %s
WHERE e.extname = 'vector'
"""


def vector_type(connection: Connection, name: str) -> VectorType:
    """Return a type of pgvector's, in whatever schema it lies."""
    found = connection.execute(_TYPE, (name,)).fetchone()
    if found is None:
        raise DatabaseError(f"this database has no type {name}: run gte-pg init first")
    oid, schema = found
    return VectorType(int(oid), sql.Identifier(str(schema), name))


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


def sparse_array(sparse: SparseRows | None, start: int, stop: int, oid: int) -> BinaryArray:
    """Return rows `start` to `stop` as a `sparsevec[]`; of a model without token weights an empty one."""
    if sparse is None:
        return BinaryArray(_array_header(0, oid))
    bounds = sparse.indptr[start : stop + 1]
    counts = np.diff(bounds)
    # Four words (size, dimensions, count, unused), then the indices, then the weights.
    ends = np.cumsum(4 + 2 * counts)
    begins = ends - (4 + 2 * counts)
    block = np.zeros(ends[-1] if len(ends) else 0, ">i4")
    block[begins] = 12 + 8 * counts
    block[begins + 1] = sparse.dimensions
    block[begins + 2] = counts
    within = np.arange(bounds[-1] - bounds[0]) - np.repeat(bounds[:-1] - bounds[0], counts)
    places = np.repeat(begins + 4, counts) + within
    block[places] = sparse.indices[bounds[0] : bounds[-1]]
    weights = sparse.values[bounds[0] : bounds[-1]].astype(">f4")
    block[places + np.repeat(counts, counts)] = weights.view(">i4")
    return BinaryArray(_array_header(stop - start, oid) + block.tobytes())


def _array_header(length: int, oid: int) -> bytes:
    if length == 0:
        return struct.pack(">iiI", 0, 0, oid)
    return struct.pack(">iiIii", 1, 0, oid, length, 1)
