"""What came of a download, written down beside it: so that a part is never taken for the whole.

A file with a published checksum is right to the last bit. Of others nobody knows more than how
many images the registry counts, and after unpacking files can still go: both is compared here,
by names alone (100,000 files take a fraction of a second).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from helpers import registry
from helpers.registry import Release

RECORD = "download.json"
FORMAT = 1  # of the record
KAGGLE = "kaggle"  # a source without addresses


def write(
    folder: Path, release: Release, facts: Sequence[Mapping[str, Any]], images: int | None
) -> None:
    """Write the record of a folder that has just been filled.

    Args:
        folder: the temporary one, full.
        release: what the folder is.
        facts: about each file of the release: where it came from, checksum, bytes.
        images: how many were found; None where they lie in one file that is not unpacked.
    """
    record = {
        "format": FORMAT,
        "release": release.name,
        "files": [
            {"file": file.file_name, **one} for file, one in zip(release.files, facts, strict=True)
        ],
        "entries": sorted(path.name for path in folder.iterdir()),
        "images": images,
        "folders": _folders(folder),
    }
    (folder / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")


def read(folder: Path, release: Release) -> dict[str, Any] | None:
    """Return the record of a folder; None where it is not the release as it is known now."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if (record["format"], record["release"]) != (FORMAT, release.name):
            return None
        for file, noted in zip(release.files, record["files"], strict=True):
            other = file.checksum is not None and noted.get("checksum") != file.checksum
            if noted["file"] != file.file_name or (other and noted["source"] != KAGGLE):
                return None
        well_made = (
            all(isinstance(entry, str) for entry in record["entries"])
            and isinstance(record.get("images"), int | None)
            and all(isinstance(many, int) for many in record.get("folders", {}).values())
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None  # no record, or one that somebody has edited
    return record if well_made else None


def problem(folder: Path, release: Release, record: Mapping[str, Any]) -> str:
    """Return what is wrong with a folder, in a few words; empty where all is here."""
    return _other_number(release, record) or _gone(folder, record)


def misses(release: Release, record: Mapping[str, Any]) -> bool:
    """Return whether other than the registry's number of images came with the download."""
    return bool(_other_number(release, record))


def sources(record: Mapping[str, Any]) -> set[str]:
    """Return where the files of a folder came from."""
    return {str(noted["source"]) for noted in record["files"]}


def _other_number(release: Release, record: Mapping[str, Any]) -> str:
    """Return how many images came of how many, in words; empty where that is as it should be."""
    images = record.get("images")  # older records have none
    if images is None or _is_vouched_for(release, record):
        return ""
    expected = (release.counts or registry.releases()[release.name].counts).get("images", images)
    if images < expected:
        return f"{images:,} of {expected:,} images"
    return f"{images:,} images instead of {expected:,}" if images > expected else ""


def _is_vouched_for(release: Release, record: Mapping[str, Any]) -> bool:
    """Return whether published checksums prove that all files are the right ones."""
    published = all(file.checksum is not None for file in release.files)
    return published and KAGGLE not in sources(record)


def _gone(folder: Path, record: Mapping[str, Any]) -> str:
    """Return how many files have gone since they were unpacked; empty where none has."""
    for entry in record["entries"]:
        if not (folder / entry).exists():
            return f"{entry} has gone"
    before: Mapping[str, int] = record.get("folders", {})
    gone = {place: many - _count(folder / place) for place, many in before.items()}
    gone = {place: many for place, many in gone.items() if many > 0}
    if not gone:
        return ""
    first = next(iter(gone))
    others = f" and {len(gone) - 1:,} more" if len(gone) > 1 else ""
    total = f"{sum(gone.values()):,} of {sum(before.values()):,} files"
    return f"{total} have gone, from {first}{others}"


def _folders(root: Path) -> dict[str, int]:
    """Return how many files each folder below a root has, by its path; none that has none."""
    found = {}
    for place, folders, _ in os.walk(root):
        folders.sort()
        found[Path(place).relative_to(root).as_posix()] = _count(Path(place))
    return {place: many for place, many in found.items() if many}


def _count(folder: Path) -> int:
    """Return how many files a folder has, without hidden ones and the record; 0 of no folder."""
    try:
        with os.scandir(folder) as entries:
            return sum(
                not entry.name.startswith(".") and entry.name != RECORD and not entry.is_dir()
                for entry in entries
            )
    except (FileNotFoundError, NotADirectoryError):
        return 0
