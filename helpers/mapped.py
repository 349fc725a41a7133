"""Arrays that may be larger than the memory: read in blocks of rows, kept on disk, mapped."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from helpers.paths import data_home, explained, require_space

BLOCK = 2_048  # rows at a time: of 1,280 float32 each, 10 MB

Rows = npt.ArrayLike  # truths (n,), or whole numbers: places in an array


def numbers(rows: Rows | None, length: int) -> np.ndarray:
    """Return the places, int (k,), that truths or whole numbers name; None means all.

    Raises:
        ValueError: neither, truths of another length, or a place that is not there.
    """
    if rows is None:
        return np.arange(length)
    named = np.asarray(rows)
    if named.dtype == object:  # truths or numbers that pandas keeps as objects
        named = np.array(named.tolist())
    if named.ndim != 1 or (named.size > 0 and named.dtype.kind not in "bui"):
        raise ValueError(
            f"Rows are named by a list of truths or of whole numbers, not by {named.dtype} of "
            f"shape {named.shape}."
        )
    if named.dtype == bool:
        if len(named) != length:
            raise ValueError(f"{len(named):,} truths cannot choose from {length:,} rows.")
        return np.flatnonzero(named)
    named = named.astype(np.intp)
    outside = (named < 0) | (named >= length)
    if outside.any():
        raise ValueError(
            f"There is no row {named[outside][0]}: there are {length:,}, counted from 0."
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
        ValueError: the parts do not fill the array, or are more than that.
        OSError: the disk is full, or the folder cannot be written; says what to do.
    """
    folder = data_home() / "cache"
    stored = np.dtype(kind)
    if 0 in shape:  # nothing can be mapped
        return np.empty(tuple(shape), stored)
    size = int(np.prod(shape)) * stored.itemsize
    with ExitStack() as stack:
        with _writing(folder, size):
            require_space(folder, size)
            stream = stack.enter_context(tempfile.TemporaryFile(dir=folder))
        for part in parts:  # whatever goes wrong in making them is no error of the disk
            with _writing(folder, size):
                stream.write(np.ascontiguousarray(part, stored).data)
        with _writing(folder, size):
            stream.flush()
        if stream.tell() != size:
            raise ValueError(f"The parts are {stream.tell():,} bytes, and {shape} takes {size:,}.")
        # the map keeps the file open: it lives on without a name
        return np.memmap(stream, stored, mode="c", shape=tuple(shape))


@contextmanager
def _writing(folder: Path, size: int) -> Iterator[None]:
    """Turn an error of the disk into one that says what to do."""
    try:
        yield
    except OSError as error:
        raise explained(error, f"A temporary file in {folder}", size) from error
