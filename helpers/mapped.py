"""Arrays that may be larger than the memory: read in blocks of rows, kept on disk, mapped."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from helpers.paths import data_home, explained

BLOCK = 2_048  # rows at a time: of 1,280 float32 each, 10 MB

Rows = npt.ArrayLike  # truths (n,), or whole numbers: places in an array


def numbers(rows: Rows | None, length: int) -> np.ndarray:
    """Return the places, int (k,), that truths or whole numbers name; None means all.

    Raises:
        ValueError: truths of another length, or a place that is not there.
    """
    if rows is None:
        return np.arange(length)
    named = np.asarray(rows)
    if named.dtype == bool:
        if named.shape != (length,):
            raise ValueError(f"{len(named):,} truths cannot choose from {length:,} rows.")
        return np.flatnonzero(named)
    outside = (named < 0) | (named >= length)
    if outside.any():
        raise ValueError(
            f"There is no row {named[outside][0]}: there are {length:,}, counted from 0. Were the "
            f"features computed from another index?"
        )
    return named


def blocks(array: np.ndarray, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yield these rows of an array (n, …), at most ``BLOCK`` at a time, each block in memory."""
    for start in range(0, len(rows), BLOCK):
        yield np.asarray(array[rows[start : start + BLOCK]])


def on_disk(parts: Iterable[np.ndarray], shape: Sequence[int], kind: npt.DTypeLike) -> np.ndarray:
    """Return an array that is written part by part, and mapped: memory holds one part.

    It lies in a file of the cache's folder, which is gone when the array is, or the process. It
    is written as a stream, for on a full disk a write reports an error, where a mapped page
    would kill the process.

    Args:
        parts: (k, …) each; together they fill the array.
        shape: of the whole.
        kind: the dtype.

    Returns:
        A memory map; what is changed in it stays in memory.

    Raises:
        OSError: the disk is full, or the folder cannot be written; says what to do.
    """
    folder = data_home() / "cache"
    stored = np.dtype(kind)
    if 0 in shape:  # nothing can be mapped
        return np.empty(tuple(shape), stored)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as stream:
            for part in parts:
                stream.write(np.ascontiguousarray(part, stored).data)
            stream.flush()
            # the map keeps the file open: it lives on without a name
            return np.memmap(stream, stored, mode="c", shape=tuple(shape))
    except OSError as error:
        size = int(np.prod(shape)) * stored.itemsize
        raise explained(error, f"A temporary file in {folder}", size) from error
