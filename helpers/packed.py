"""Images inside an npz archive: one by its address ``file.npz#train/17``, many in one pass.

Such an archive may be larger than memory (OCTMNIST at 224 pixels unpacks to 5 GB), and its
members are compressed: an image is reached only by unpacking those before it. So many
images are read in the order in which they lie, one at a time, and nothing is ever unpickled.
"""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import IO

import numpy as np

KEPT = (
    300_000_000  # bytes; members up to this size in all stay in memory while single images are read
)

LARGEST = 100_000_000  # pixels; more is a scan that was not meant, or a decompression bomb

_ADDRESS = re.compile(
    r"(?P<archive>.+\.npz)#(?P<part>\w+)[/\\](?P<row>\d+)", re.IGNORECASE | re.DOTALL
)
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


_kept: dict[tuple[str, str, int], np.ndarray] = {}  # what ``_member`` unpacked, the oldest first


class DamagedArchiveError(ValueError):
    """An npz archive cannot be used; the message names it and says what to do."""


def address(archive: str | os.PathLike[str], part: str, row: int) -> str:
    """Return how an image of an archive is named: ``file.npz#train/17``.

    Args:
        archive: the file.
        part: what stands before ``_images`` in the member's name.
        row: of the member's array, from 0.
    """
    return f"{os.fspath(archive)}#{part}/{row}"


def is_address(path: str | os.PathLike[str]) -> bool:
    """Return whether a path means an image inside an archive."""
    return _ADDRESS.fullmatch(os.fspath(path)) is not None


def archive_of(path: str | os.PathLike[str]) -> str:
    """Return the archive of an address; any other path as it is."""
    found = _ADDRESS.fullmatch(os.fspath(path))
    return os.fspath(path) if found is None else found["archive"]


def read(path: str | os.PathLike[str]) -> np.ndarray:
    """Return one image of an archive.

    A member of up to 300 MB is unpacked once and kept; in a larger one, an image that lies
    far behind takes seconds. Who reads many takes a ``Reader``.

    Args:
        path: an address such as ``pneumoniamnist.npz#test/0``.

    Returns:
        uint8 (height, width) or (height, width, 3).

    Raises:
        DamagedArchiveError: there is no such image, or the archive is damaged.
    """
    archive, part, row = _parts_of(path)
    member = f"{part}_images"
    shape = shape_of(archive, member)
    _require_row(path, row, shape)
    if int(np.prod(shape, dtype=np.int64)) > KEPT:
        with Reader() as reader:
            return reader.read(path)
    stamp = os.stat(archive).st_mtime_ns  # noqa: PTH116 - an address is text, not a Path
    image: np.ndarray = _member(archive, member, stamp)[row]
    return image


def names_in(archive: str | os.PathLike[str]) -> list[str]:
    """Return the names of an archive's arrays.

    Raises:
        DamagedArchiveError: it is no npz archive.
    """
    with _explained(archive), zipfile.ZipFile(archive) as opened:
        return [name.removesuffix(".npy") for name in opened.namelist()]


def shape_of(archive: str | os.PathLike[str], member: str) -> tuple[int, ...]:
    """Return the shape of an array of images without unpacking it.

    Raises:
        DamagedArchiveError: there is none, or it is no plain uint8.
    """
    with _explained(archive), zipfile.ZipFile(archive) as opened:
        stream, shape = _open_member(opened, archive, member)
        stream.close()
        return shape


def read_labels(archive: str | os.PathLike[str], member: str) -> np.ndarray:
    """Return a small array of whole numbers.

    Raises:
        DamagedArchiveError: there is none, or it holds anything else.
    """
    with _explained(archive), np.load(archive, allow_pickle=False) as arrays:
        try:
            labels: np.ndarray = arrays[member]
        except ValueError as error:
            if "allow_pickle" not in str(error):
                raise
            raise _pickled(archive, member) from None
    if labels.dtype.kind not in "iu":
        raise DamagedArchiveError(
            f"{os.fspath(archive)}: {member} is of the type {labels.dtype}, where whole numbers "
            f"are meant."
        )
    return labels


class Reader:
    """Reads images of archives; fast where they are asked for in the order they lie in."""

    def __init__(self) -> None:
        """Open nothing yet."""
        self._archive: zipfile.ZipFile | None = None
        self._stream: IO[bytes] | None = None
        self._member = ("", "")
        self._shape: tuple[int, ...] = ()
        self._next = 0

    def __enter__(self) -> Reader:
        """Return the reader itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close what is open."""
        self.close()

    def close(self) -> None:
        """Close what is open."""
        if self._stream is not None:
            self._stream.close()
        if self._archive is not None:
            self._archive.close()
        self._archive = self._stream = None
        self._member = ("", "")

    def read(self, path: str | os.PathLike[str]) -> np.ndarray:
        """Return one image: uint8 (height, width) or (height, width, 3).

        Raises:
            DamagedArchiveError: there is no such image, or the archive is damaged.
        """
        archive, part, row = _parts_of(path)
        with _explained(archive):
            if self._member != (archive, part) or row < self._next:
                self._begin(archive, part)
            _require_row(path, row, self._shape)
            assert self._stream is not None
            size = int(np.prod(self._shape[1:], dtype=np.int64))
            self._stream.seek((row - self._next) * size, os.SEEK_CUR)
            content = self._stream.read(size)
            if len(content) < size:
                raise EOFError("it ends too early")
        self._next = row + 1
        return np.frombuffer(content, np.uint8).reshape(self._shape[1:])

    def _begin(self, archive: str, part: str) -> None:
        """Open a member at its first image."""
        self.close()
        self._archive = zipfile.ZipFile(archive)
        self._stream, self._shape = _open_member(self._archive, archive, f"{part}_images")
        self._member, self._next = (archive, part), 0


def _member(archive: str, member: str, stamp: int) -> np.ndarray:
    """Return a whole array of images; ``stamp`` is the time at which the file was changed.

    Several members are kept, so that images of two parts may be read in turn.
    """
    key = (archive, member, stamp)
    found = _kept.get(key)
    if found is None:
        with _explained(archive), zipfile.ZipFile(archive) as opened:
            stream, shape = _open_member(opened, archive, member)
            room = KEPT - int(np.prod(shape, dtype=np.int64))
            while _kept and sum(one.nbytes for one in _kept.values()) > room:
                del _kept[next(iter(_kept))]
            with stream:
                found = _kept[key] = np.frombuffer(stream.read(), np.uint8).reshape(shape)
    return found


def _open_member(
    opened: zipfile.ZipFile, archive: str | os.PathLike[str], member: str
) -> tuple[IO[bytes], tuple[int, ...]]:
    """Return a member's stream, standing at its first pixel, and its shape."""
    stream = opened.open(f"{member}.npy")
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        raise ValueError(f"{member} has the format {version}, which is not known")
    shape, is_fortran, kind = _HEADERS[version](stream)
    if kind.hasobject:
        raise _pickled(archive, member)
    if kind != np.uint8 or is_fortran or len(shape) not in (3, 4) or shape[3:] not in ((), (3,)):
        raise DamagedArchiveError(
            f"{os.fspath(archive)}: {member} is {kind} {shape}, where uint8 (n, height, width) "
            f"or (n, height, width, 3) in C order is meant."
        )
    if shape[1] * shape[2] > LARGEST:
        raise DamagedArchiveError(
            f"{os.fspath(archive)}: {member} claims images of {shape[2]}×{shape[1]} pixels, which "
            f"is more than a picture has. Fetch it again."
        )
    return stream, shape


def _parts_of(path: str | os.PathLike[str]) -> tuple[str, str, int]:
    """Return archive, part and row of an address."""
    found = _ADDRESS.fullmatch(os.fspath(path))
    if found is None:
        raise DamagedArchiveError(f"{os.fspath(path)!r} is no address like file.npz#train/17.")
    return found["archive"], found["part"], int(found["row"])


def _require_row(path: str | os.PathLike[str], row: int, shape: tuple[int, ...]) -> None:
    """Refuse a row that an array does not have."""
    if row >= shape[0]:
        raise DamagedArchiveError(f"{os.fspath(path)}: the last image there is {shape[0] - 1}.")


def _pickled(archive: str | os.PathLike[str], member: str) -> DamagedArchiveError:
    """Return the error of an array of objects."""
    return DamagedArchiveError(
        f"{os.fspath(archive)}: {member} holds pickled Python objects. They are not opened, "
        f"since they could run anything. A MedMNIST file holds plain numbers: fetch it again."
    )


@contextmanager
def _explained(archive: str | os.PathLike[str]) -> Iterator[None]:
    """Raise whatever goes wrong inside as one kind of error that names the archive."""
    place = os.fspath(archive)
    try:
        yield
    except DamagedArchiveError:
        raise
    except FileNotFoundError as error:
        raise DamagedArchiveError(f"{place} does not exist.") from error
    except KeyError as error:
        raise DamagedArchiveError(f"{place} holds no array {error.args[0]}.") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, MemoryError, OSError, ValueError) as error:
        raise DamagedArchiveError(
            f"{place} is damaged or no npz archive ({str(error)[:120]}). Fetch it again."
        ) from error
