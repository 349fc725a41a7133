"""Unpacking archives that strangers made: nothing lands outside the folder, nothing explodes.

What Python's own ``zipfile`` and ``tarfile`` would mend silently (a path that climbs out of
the folder, a link) is refused here with a reason: no dataset needs it, so an archive that has
it is not the one that was meant.
"""

from __future__ import annotations

import errno
import gzip
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from helpers.progress import progress

SUFFIXES = (".zip", ".tar.gz", ".tgz")


class ArchiveError(ValueError):
    """An archive that is damaged, or that is not unpacked for safety; the text says why."""


@dataclass(frozen=True)
class Limits:
    """How much an archive may hold; what holds more is taken for a bomb.

    Attributes:
        files: entries, folders included. The largest set of the series has 110,000.
        size: bytes of all unpacked files together.
        ratio: unpacked bytes for each packed one. Pictures are compressed already (about 1),
            uncompressed ones of large black areas reach 5; a bomb reaches 1,000.
        harmless: bytes up to which the ratio does not matter.
    """

    files: int = 1_000_000
    size: int = 200 * 10**9
    ratio: float = 50.0
    harmless: int = 50 * 10**6


LIMITS = Limits()


def is_archive(file_name: str) -> bool:
    """Return whether a file of that name is one that ``unpack`` takes."""
    return file_name.lower().endswith(SUFFIXES)


def unpacked_size(archive: Path) -> int | None:
    """Return how many bytes a zip file says that it holds; None for other archives.

    A tar file would have to be read to its end for that.

    Raises:
        ArchiveError: the file is damaged or no zip file.
    """
    if not archive.name.lower().endswith(".zip"):
        return None
    with _explained(archive), zipfile.ZipFile(archive) as opened:
        return sum(entry.file_size for entry in opened.infolist())


def unpack(archive: Path, folder: Path, limits: Limits = LIMITS) -> int:
    """Write the files of an archive into a folder and return how many they are.

    Entries named ``__MACOSX`` or ``._…``, which macOS adds, are skipped. Into an archive that
    fails half-way the folder has been written to already: unpack into a temporary one
    (``helpers.paths.atomic_folder``).

    Args:
        archive: ends in ``.zip``, ``.tar.gz`` or ``.tgz``.
        folder: exists.
        limits: what is more counts as a bomb.

    Raises:
        ArchiveError: the archive is damaged, wants a password, holds a path that leads out of
            the folder, a link or a device, or more than the limits allow.
        OSError: the disk is full, or the folder cannot be written.
    """
    packed = archive.stat().st_size
    entries = size = written = 0
    with _explained(archive), _opened(archive) as (members, count):
        for member in progress(members, f"unpacking {archive.name}", count):
            entries, size = entries + 1, size + member.size
            _require_harmless(archive, packed, entries, size, limits)
            place = _place(member.name, archive)
            if place is None:
                continue
            if member.is_folder:
                (folder / place).mkdir(parents=True, exist_ok=True)
            else:
                _write(member, folder / place)
                written += 1
    return written


@dataclass(frozen=True)
class _Member:
    """One entry of an archive, whatever its format."""

    name: str
    size: int  # bytes when unpacked; neither reader gives more than it announces here
    is_folder: bool
    open: Callable[[], IO[bytes] | None]


@contextmanager
def _opened(archive: Path) -> Iterator[tuple[Iterable[_Member], int | None]]:
    """Yield the members of an archive in their order, and how many they are where known."""
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as opened:
            entries = opened.infolist()
            yield (_zip_member(opened, entry) for entry in entries), len(entries)
    else:
        with _Gzip(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as opened:
            yield (_tar_member(opened, entry) for entry in opened), None


def _zip_member(opened: zipfile.ZipFile, entry: zipfile.ZipInfo) -> _Member:
    kind = stat.S_IFMT(entry.external_attr >> 16)  # 0 where the archive was made on Windows
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise ArchiveError(f"{entry.filename!r} is a link or a device, and no dataset needs one")
    if entry.flag_bits & 0x1:
        raise ArchiveError("it wants a password, and no dataset of the series has one")
    name = entry.filename
    if not entry.flag_bits & 0x800:
        # Not marked as UTF-8, so zipfile took it for the alphabet of DOS. Many programs write
        # UTF-8 all the same, or that of their own country.
        name = _text(name.encode("cp437"))
    return _Member(name, entry.file_size, entry.is_dir(), partial(opened.open, entry))


def _tar_member(opened: tarfile.TarFile, entry: tarfile.TarInfo) -> _Member:
    if not (entry.isreg() or entry.isdir()):
        raise ArchiveError(f"{entry.name!r} is a link or a device, and no dataset needs one")
    name = _text(entry.name.encode("utf-8", "surrogateescape"))
    return _Member(name, entry.size, entry.isdir(), partial(opened.extractfile, entry))


class _Gzip(gzip.GzipFile):
    """A gzip stream that refuses to be read in one gulp.

    ``tarfile`` reads an extended header (a long name) as a whole, and a crafted one may say
    that it has gigabytes; the contents of files are asked for in small pieces.
    """

    most = 64 * 2**20  # bytes

    def read(self, size: int | None = -1) -> bytes:
        """Return so many of the next bytes."""
        if size is None or not 0 <= size <= self.most:
            raise ArchiveError("a header in it is larger than any name can be")
        return super().read(size)


def _text(raw: bytes) -> str:
    """Return a name from its bytes: UTF-8 where it is that, else the alphabet of DOS."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("cp437")  # has a sign for every byte, so that this cannot fail


def _place(name: str, archive: Path) -> PurePosixPath | None:
    """Return where below the folder an entry belongs; None where it is skipped.

    Raises:
        ArchiveError: it belongs outside of it.
    """
    plain = name.replace("\\", "/")  # some programs on Windows separate folders like that
    parts = PurePosixPath(plain).parts
    outside = plain.startswith("/") or PureWindowsPath(plain).drive or ".." in parts
    if outside or "\0" in plain:
        raise ArchiveError(f"{name!r} would be written outside of the folder")
    if not parts or "__MACOSX" in parts or parts[-1].startswith("._"):
        return None
    return PurePosixPath(*parts)


def _require_harmless(archive: Path, packed: int, entries: int, size: int, limits: Limits) -> None:
    """Refuse an archive that grows beyond the limits."""
    if entries > limits.files:
        raise ArchiveError(f"it holds more than {limits.files:,} files")
    if size > limits.size:
        raise ArchiveError(f"it holds more than {limits.size / 1e9:,.0f} GB")
    if size > limits.harmless and size > limits.ratio * packed:
        raise ArchiveError(f"{packed:,} bytes unpack to more than {size:,}, as only a bomb's do")


def _write(member: _Member, target: Path) -> None:
    """Write the contents of a member to a file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    source = member.open()
    if source is None:
        raise ArchiveError(f"{member.name!r} has no contents")
    with source, target.open("wb") as file:
        shutil.copyfileobj(source, file, 2**20)


@contextmanager
def _explained(archive: Path) -> Iterator[None]:
    """Turn what the readers raise about an archive into an error that says what to do."""
    damaged = (
        zipfile.BadZipFile,
        tarfile.TarError,
        gzip.BadGzipFile,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        UnicodeError,
        NotImplementedError,  # a compression that zipfile does not know
    )
    try:
        yield
    except ArchiveError as error:
        raise ArchiveError(f"{archive} was not unpacked: {error}.") from error
    except damaged as error:
        raise _damaged(archive, error) from error
    except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
        raise ArchiveError(
            f"{archive} was not unpacked: a file and a folder in it have the same name "
            f"({error.filename})."
        ) from error
    except OSError as error:
        # Nonsense in an archive may ask for what no file can do; a full disk is another matter.
        if error.errno not in (None, errno.EINVAL, errno.ENAMETOOLONG):
            raise
        raise _damaged(archive, error) from error


def _damaged(archive: Path, error: Exception) -> ArchiveError:
    return ArchiveError(
        f"{archive} cannot be unpacked ({error}): it is damaged, or no archive of that kind."
    )
