"""Fetching the real datasets: each into one folder, whole and checked, or not at all.

In ``data_home()``::

    downloads/malaria/                  the folder that a notebook reads
    downloads/malaria/download.json     the record that it is complete, and of what
    downloads/archives/                 files on their way: half of them (``.part``), or whole
                                        and not unpacked yet, or put there by hand

The folder and its record appear together, by one renaming, so no image has to be counted to
know whether a dataset is complete.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers import archives, registry, resume
from helpers.fetch import Fetched, NoSourceError, WrongFileError, fetch, forget, in_words, waiting
from helpers.paths import atomic_folder, data_home
from helpers.registry import Download, Release

RECORD = "download.json"
FORMAT = 1  # of the record
COMMAND = "python -m helpers data download"
# Pictures are compressed already; the rest is what a file system wastes on many small files.
UNPACKED = 1.2


class DownloadError(RuntimeError):
    """A dataset that could not be fetched; the text says why, and how to do it by hand."""


@dataclass(frozen=True)
class Status:
    """What is here of a release.

    Attributes:
        folder: where it lies, or would lie.
        complete: whether all of it does.
        fetched: bytes that wait in ``downloads/archives`` where it does not.
    """

    folder: Path
    complete: bool
    fetched: int


def find(data_dir: str | os.PathLike[str]) -> Path:
    """Return the folder that is meant by a path or by the name of a downloaded dataset.

    Args:
        data_dir: a path (``~`` is the user's home), or such as ``"malaria"`` where there is
            no folder of that name here. A path that does not exist is returned as it is.

    Returns:
        An absolute path.

    Raises:
        FileNotFoundError: a dataset is meant that has not been downloaded.
    """
    path = Path(data_dir).expanduser().absolute()
    name = os.fspath(data_dir)
    if path.exists() or name not in registry.releases():
        return path
    state = status(name)
    if not state.complete:
        raise FileNotFoundError(
            f"data_dir={name!r}: there is no folder {path}, and the dataset of that name has "
            f"not been downloaded. Call  {COMMAND} {name}"
        )
    return state.folder


def status(name: str) -> Status:
    """Return what is here of a release.

    Raises:
        ValueError: there is none of that name.
    """
    release = registry.release(name)
    folder = _home() / name
    if _is_complete(release, folder):
        return Status(folder, True, 0)
    return Status(folder, False, sum(waiting(file, _archives()) for file in release.files))


def download(name: str, *, keep_archive: bool = False, say: Callable[[str], None] = print) -> Path:
    """Fetch a dataset, check it and unpack it; return its folder.

    What is complete already is left alone, and what an interrupted call has fetched is used.

    Args:
        name: of a release: ``"malaria"``, ``"oct_v3"``, ``"pneumoniamnist_224"``, ….
        keep_archive: leave the archives in ``downloads/archives`` when they are unpacked.
        say: told what happens, a sentence at a time.

    Raises:
        ValueError: there is no release of that name.
        DownloadError: it could not be fetched, is not what was expected, or the disk is full.
    """
    release = registry.release(name)
    folder = _home() / name
    if _is_complete(release, folder):
        say(f"{name} is here already, complete: {folder}")
        return folder
    _refuse_foreign(folder)
    say(f"Licence: {release.licence or registry.releases()[name].licence}.")
    try:
        _require_space(_home(), _needed(release), "to fetch and unpack it")
        _fetch_and_build(release, folder, keep_archive, say)
    except NoSourceError as error:
        raise DownloadError(f"{error}\n\n{recipe(name)}") from error
    except (archives.ArchiveError, WrongFileError, resume.BusyError) as error:
        raise DownloadError(str(error)) from error
    except OSError as error:
        raise DownloadError(
            f"{name} could not be written: {error}. What was fetched is kept; the next call goes "
            f"on from there. Another place:  TUTORIALS_DATA=<folder>"
        ) from error
    return folder


def recipe(name: str) -> str:
    """Return how to get a release by hand: numbered steps, and how the folder must look."""
    release = registry.release(name)
    steps = [
        f"Open  {_page(release, file)}  in a browser and save the file as\n"
        f"{_archives() / file.file_name}" + _facts(file)
        for file in release.files
    ]
    steps.append(f"Call  {COMMAND} {name}  again: it checks and unpacks what lies there.")
    lines = ["By hand:"]
    for number, step in enumerate(steps, 1):
        lines += [f"  {number}. " + step.replace("\n", "\n     ")]
    lines.append("Or unpack it where you like and give that folder as data_dir. So it looks:")
    lines += ["    " + line for line in _as_tree(release.tree)]
    if release.kaggle and release.files[0].addresses:
        lines.append(f"The same images: https://www.kaggle.com/datasets/{release.kaggle}")
    return "\n".join(lines)


# -- where things lie, and what is there ---------------------------------------------------


def _home() -> Path:
    return data_home() / "downloads"


def _archives() -> Path:
    return _home() / "archives"


def _is_complete(release: Release, folder: Path) -> bool:
    """Return whether a folder is the release as the registry knows it now."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if (record["format"], record["release"]) != (FORMAT, release.name):
            return False
        for file, noted in zip(release.files, record["files"], strict=True):
            other = file.checksum is not None and noted.get("checksum") != file.checksum
            if noted["file"] != file.file_name or (other and noted["source"] != "kaggle"):
                return False
        # somebody may have moved a folder away; single images are not counted
        return all((folder / entry).exists() for entry in record["entries"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return False  # no record, or one that somebody has edited


def _refuse_foreign(folder: Path) -> None:
    """Refuse to replace a folder that is not one of ours."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / RECORD).exists():
        raise DownloadError(
            f"{folder} is there and was not made by this command. Name it as data_dir, or move "
            f"it away and call again."
        )


# -- fetching ------------------------------------------------------------------------------


def _fetch_and_build(
    release: Release, folder: Path, keep_archive: bool, say: Callable[[str], None]
) -> None:
    """Fetch from the addresses, else from Kaggle, and make the folder."""
    try:
        found = [fetch(file, _archives(), say) for file in release.files]
    except NoSourceError as error:
        if not release.kaggle:
            raise
        _from_kaggle(release, folder, str(error), say)
        return
    _build(release, folder, found, say)
    for one in found:
        if not (keep_archive and archives.is_archive(one.path.name)):
            one.path.unlink()


def _from_kaggle(release: Release, folder: Path, before: str, say: Callable[[str], None]) -> None:
    """Fetch a release with Kaggle's own program, which resumes and unpacks by itself."""
    if importlib.util.find_spec("kagglehub") is None:
        raise NoSourceError(
            f"{before}\nKaggle has these images ({release.kaggle}), and its program is not "
            f"installed: call  .venv/bin/python -m uv pip install '.[kaggle]'  in the checkout "
            f"(elsewhere  pip install kagglehub ) and then  {COMMAND} {release.name}  again."
        )
    import kagglehub

    say(f"Fetching {release.kaggle} from Kaggle")
    try:
        fetched = Path(kagglehub.dataset_download(release.kaggle))
    except Exception as error:  # it has a dozen kinds, and requests' besides
        raise NoSourceError(f"{before}\nKaggle did not give {release.kaggle}: {error}") from error
    with atomic_folder(folder, overwrite=True) as temporary:
        shutil.copytree(
            fetched,
            temporary,
            ignore=lambda place, names: [name for name in names if Path(place, name).is_symlink()],
            copy_function=_link_or_copy,
            dirs_exist_ok=True,
        )
        _finish(release, temporary, [{"source": "kaggle"} for _ in release.files], say)


# -- unpacking -----------------------------------------------------------------------------


def _build(
    release: Release, folder: Path, found: Sequence[Fetched], say: Callable[[str], None]
) -> None:
    """Unpack the fetched files into the folder, which appears when all is well."""
    try:
        with atomic_folder(folder, overwrite=True) as temporary:
            for path in (one.path for one in found):
                if not archives.is_archive(path.name):
                    _link_or_copy(path, temporary / path.name)
                    continue
                size = archives.unpacked_size(path) or path.stat().st_size * UNPACKED
                _require_space(temporary, size, f"to unpack {path.name}")
                say(f"Unpacking {path.name}")
                archives.unpack(path, temporary)
            facts = [
                {"source": one.source, "size": one.size, "checksum": one.checksum} for one in found
            ]
            _finish(release, temporary, facts, say)
    except archives.ArchiveError as error:
        raise DownloadError(f"{error}{_discarded(release, found)}") from error


def _discarded(release: Release, found: Sequence[Fetched]) -> str:
    """Remove the archives whose checksum nobody knows, and say so: the next call fetches anew.

    One whose checksum was right stays: another copy of it would be no better.
    """
    gone = []
    for file, one in zip(release.files, found, strict=True):
        if file.checksum is None and archives.is_archive(file.file_name):
            forget(one)
            gone.append(file.file_name)
    return f" Removed: {', '.join(gone)}; call again to fetch anew." if gone else ""


def _finish(
    release: Release, folder: Path, facts: Sequence[dict[str, Any]], say: Callable[[str], None]
) -> None:
    """Check that the images are where they are looked for, and write the record.

    Args:
        release: what the folder is.
        folder: the temporary one, full.
        facts: about each file of the release: where it came from, checksum, bytes.
        say: told how many images there are.
    """
    dataset = registry.releases()[release.name]
    if archives.is_archive(release.files[0].file_name):
        from helpers import layouts  # reads images, and so needs numpy: not for `data list`

        try:
            count = len(layouts.find_images(folder, dataset).rows)
        except ValueError as error:
            reason = str(error).replace(str(folder), "The archive")
            raise archives.ArchiveError(f"What was fetched is not the dataset. {reason}") from error
        say(f"{count:,} images found.")
    record = {
        "format": FORMAT,
        "release": release.name,
        "files": [
            {"file": file.file_name, **one} for file, one in zip(release.files, facts, strict=True)
        ],
        "entries": sorted(path.name for path in folder.iterdir()),
    }
    (folder / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")


def _link_or_copy(source: str | Path, target: str | Path) -> None:
    """Put a file into another folder, without using its space twice where that is possible."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


# -- space ---------------------------------------------------------------------------------


def _needed(release: Release) -> float:
    """Return how many bytes the files will still take, fetched and unpacked."""
    needed = 0.0
    for file in release.files:
        needed += max(0, file.expected_size - waiting(file, _archives()))
        if archives.is_archive(file.file_name):
            needed += file.expected_size * UNPACKED
    return needed


def _require_space(place: Path, needed: float, purpose: str) -> None:
    """Refuse to begin what the disk has no room for."""
    existing = next(folder for folder in (place, *place.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise DownloadError(
            f"{place} has {in_words(free)} free, and {in_words(needed)} are needed {purpose}. "
            f"Make room, or name another place:  TUTORIALS_DATA=<folder>"
        )


# -- words ---------------------------------------------------------------------------------


def _page(release: Release, file: Download) -> str:
    """Return where a person finds a file."""
    if file.addresses:
        return "  or  ".join(file.addresses)
    return f"https://www.kaggle.com/datasets/{release.kaggle}"


def _facts(file: Download) -> str:
    """Return how to tell the right file, in parentheses; nothing where nothing is known."""
    facts = [f"{file.size:,} bytes" if file.size else ""]
    if not file.size and file.megabytes:
        facts = [f"about {file.megabytes:,} MB"]
    facts.append((file.checksum or "").replace(":", " "))
    known = ", ".join(fact for fact in facts if fact)
    return f"\n({known})" if known else ""


def _as_tree(paths: Sequence[str]) -> list[str]:
    """Return files as an indented tree, folders once."""
    lines: list[str] = []
    above: tuple[str, ...] = ()
    for path in paths:
        *folders, name = path.split("/")
        for depth, folder in enumerate(folders):
            if above[: depth + 1] != tuple(folders[: depth + 1]):
                lines.append("  " * depth + f"{folder}/")
        lines.append("  " * len(folders) + name + (", …" if folders else ""))
        above = tuple(folders)
    return lines
