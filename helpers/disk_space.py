"""Room for a download: asked for before it begins, and again before it is unpacked."""

from __future__ import annotations

import shutil
from pathlib import Path

from helpers import archives
from helpers.fetch import in_words, waiting
from helpers.registry import Release

# Pictures are compressed already; the rest is what a file system wastes on many small files.
UNPACKED = 1.2


class NoRoomError(RuntimeError):
    """The disk has too little room for what comes next."""


def needed(release: Release, place: Path) -> float:
    """Return how many bytes the files of a release will still take, fetched and unpacked.

    Args:
        release: what is to be fetched.
        place: the folder in which its files are kept on their way.
    """
    total = 0.0
    for file in release.files:
        total += max(0, file.expected_size - waiting(file, place))
        if archives.is_archive(file.file_name):
            total += file.expected_size * UNPACKED
    return total


def require(place: Path, size: float, purpose: str) -> None:
    """Refuse to begin what the disk has no room for.

    Args:
        place: a folder, which need not exist yet.
        size: bytes.
        purpose: what they are for, as the end of a sentence.

    Raises:
        NoRoomError: there are fewer; says what to do.
    """
    existing = next(folder for folder in (place, *place.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if free < size:
        raise NoRoomError(
            f"{place} has {in_words(free)} free, and {in_words(size)} are needed {purpose}. "
            f"Make room, or name another place:  TUTORIALS_DATA=<folder>"
        )
