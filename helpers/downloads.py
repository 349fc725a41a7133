"""Fetching the real datasets: each into one folder, whole and checked, or not at all.

In ``data_home()``::

    downloads/malaria/                  the folder that a notebook reads
    downloads/malaria/download.json     the record that it is complete, and of what
    downloads/archives/                 files on their way: half of them (``.part``), or whole
                                        and not unpacked yet, or put there by hand

The folder and its record appear together, by one renaming; what the record is compared with,
``helpers.download_record`` says.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from helpers import archives, by_hand, claim, disk_space, download_record, registry, resume
from helpers.command import command
from helpers.download_record import KAGGLE, RECORD
from helpers.fetch import Fetched, NoSourceError, WrongFileError, fetch, forget, waiting
from helpers.paths import DISK_FULL, atomic_folder, data_home, explained
from helpers.registry import Download, Release


class DownloadError(RuntimeError):
    """A dataset that could not be fetched; the text says why, and how to do it by hand."""


@dataclass(frozen=True)
class Status:
    """What is here of a release.

    Attributes:
        folder: where it lies, or would lie.
        complete: whether all of it does.
        fetched: bytes that wait in ``downloads/archives`` where it does not.
        problem: where something lies there, and not all of it: what is missing, in words.
    """

    folder: Path
    complete: bool
    fetched: int
    problem: str = ""


def find(data_dir: str | os.PathLike[str]) -> Path:
    """Return the folder that is meant by a path or by the name of a downloaded dataset.

    Args:
        data_dir: a path (``~`` is the user's home), or such as ``"malaria"`` where there is
            no folder of that name here. A path that does not exist is returned as it is.

    Returns:
        An absolute path.

    Raises:
        FileNotFoundError: a dataset is meant that has not been downloaded, or not all of it.
    """
    path = Path(data_dir).expanduser().absolute()
    name = os.fspath(data_dir)
    if path.exists() or name not in registry.releases():
        return path
    state = status(name)
    if state.problem:
        raise FileNotFoundError(
            f"data_dir={name!r}: what was downloaded is a part of it, or another release: "
            f"{state.problem}. "
            f"{_what_to_do(name, state.folder)}"
        )
    if not state.complete:
        raise FileNotFoundError(
            f"data_dir={name!r}: there is no folder {path}, and the dataset of that name has "
            f"not been downloaded. Call  {_command(name)}"
        )
    return state.folder


def status(name: str) -> Status:
    """Return what is here of a release.

    Raises:
        ValueError: there is none of that name.
    """
    release = registry.release(name)
    folder = _home() / name
    record = download_record.read(folder, release)
    problem = "" if record is None else download_record.problem(folder, release, record)
    if record is not None and not problem:
        return Status(folder, True, 0)
    fetched = sum(waiting(file, _archives()) for file in release.files)
    return Status(folder, False, fetched, problem)


def download(name: str, *, keep_archive: bool = False, say: Callable[[str], None] = print) -> Path:
    """Fetch a dataset, check it and unpack it; return its folder.

    What is complete already is left alone, and what an interrupted call has fetched is used. A
    folder from which files have gone is replaced.

    Args:
        name: of a release: ``"malaria"``, ``"oct_v3"``, ``"pneumoniamnist_224"``, ….
        keep_archive: leave the archives in ``downloads/archives`` when they are unpacked.
        say: told what happens, a sentence at a time.

    Raises:
        ValueError: there is no release of that name.
        DownloadError: it could not be fetched, is not what was expected (other than so many
            images are kept all the same), or the disk is full.
    """
    release = registry.release(name)
    before = status(name)
    folder = before.folder
    if before.complete:
        say(f"{name} is here already, complete: {folder}")
        return folder
    if before.problem:
        say(
            f"Not all of {name} is here: {before.problem}. It is fetched again, and replaces "
            f"{folder} when it has come."
        )
    _refuse_foreign(folder)
    say(f"Licence: {release.licence or registry.releases()[name].licence}.")
    try:
        with _alone(folder):
            disk_space.require(
                _home(), disk_space.needed(release, _archives()), "to fetch and unpack it"
            )
            _fetch_and_build(release, folder, keep_archive, say)
    except (NoSourceError, archives.ArchiveError, WrongFileError, disk_space.NoRoomError) as error:
        raise DownloadError(f"{error}\n\n{recipe(name)}") from error
    except resume.BusyError as error:
        raise DownloadError(str(error)) from error
    except claim.ClaimedError as error:
        raise DownloadError(f"Another process is fetching {name}: {error}") from error
    except OSError as error:
        text = _unwritable(name, folder, error)
        more = f"\n\n{recipe(name)}" if error.errno in DISK_FULL else ""
        raise DownloadError(text + more) from error
    came = status(name)
    if came.problem:
        raise DownloadError(
            f"What came of {name} is a part of it, or another release: {came.problem}. "
            f"{_what_to_do(name, folder)}\n\n{recipe(name)}"
        )
    return folder


def recipe(name: str) -> str:
    """Return how to get a release by hand: numbered steps, and how the folder must look."""
    return by_hand.recipe(registry.release(name), _archives(), _command(name))


# -- where things lie, and what is there ---------------------------------------------------


def _home() -> Path:
    return data_home() / "downloads"


def _archives() -> Path:
    return _home() / "archives"


def _refuse_foreign(folder: Path) -> None:
    """Refuse to replace a folder that is not one of ours."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / RECORD).exists():
        raise DownloadError(
            f"{folder} is there and was not made by this command. Name it as data_dir, or move "
            f"it away and call again."
        )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let nobody else make a folder meanwhile; remove what a process that was killed has left."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with claim.alone(folder.with_name(f".{folder.name}.claim")):
        for left in folder.parent.glob(f".{folder.name}-*"):  # as atomic_folder names it
            shutil.rmtree(left, ignore_errors=True)
        yield


# -- fetching ------------------------------------------------------------------------------


def _fetch_and_build(
    release: Release, folder: Path, keep_archive: bool, say: Callable[[str], None]
) -> None:
    """Fetch from the addresses, else from Kaggle, and make the folder."""
    misled = _misled(release, folder)
    files = [_asked_last(file, misled) for file in release.files]
    useless: list[str] = []
    while True:
        try:
            found = [fetch(file, _archives(), say) for file in files]
        except NoSourceError as error:
            reasons = "\n  ".join([str(error), *useless])
            if not release.kaggle:
                raise NoSourceError(reasons) from error
            _from_kaggle(release, folder, reasons, say, anew=KAGGLE in misled)
            return
        try:
            _build(release, folder, found, say)
            break
        except archives.ArchiveError as error:
            useless += _given_up(files, found, error)
            say(f"  {useless[-1]}")
            left_out = {one.source for one in found}
            files = [_without(file, left_out) for file in files]
    is_whole = status(release.name).complete
    for one in found:
        if not is_whole:
            forget(one)  # and its checksum, which the next one need not have
        elif is_whole and not (keep_archive and archives.is_archive(one.path.name)):
            one.path.unlink()


def _misled(release: Release, folder: Path) -> set[str]:
    """Return where the folder's files came from, if not all of the images came with them."""
    record = download_record.read(folder, release)
    if record is None or not download_record.misses(release, record):
        return set()
    return download_record.sources(record)


def _given_up(
    files: Sequence[Download], found: Sequence[Fetched], error: archives.ArchiveError
) -> list[str]:
    """Remove the archives that were of no use and return why, so that others can be asked for.

    Raises:
        archives.ArchiveError: none of them is to be removed: a checksum says that it is the
            right one, so that another copy would be no better, or a person has put it there.
    """
    pairs = [
        (file, one)
        for file, one in zip(files, found, strict=True)
        if file.checksum is None and archives.is_archive(file.file_name)
    ]
    for _, one in pairs:
        forget(one)
    ours = [one.source for _, one in pairs if not one.by_hand]
    if ours:
        return [f"{source}: {error}" for source in ours]
    hand = [str(one.path) for _, one in pairs]
    if not hand:
        raise error
    raise archives.ArchiveError(
        f"{error}\nThat is what you have put there, and it stays: {', '.join(hand)}. Move it away "
        f"and call again, or save the right file there."
    ) from error


def _without(file: Download, addresses: set[str]) -> Download:
    """Return a file that is not looked for at some of its addresses."""
    others = tuple(address for address in file.addresses if address not in addresses)
    return replace(file, addresses=others)


def _asked_last(file: Download, misled: set[str]) -> Download:
    """Return a file whose addresses that gave a part of the set come after the others."""
    return replace(file, addresses=tuple(sorted(file.addresses, key=misled.__contains__)))


def _from_kaggle(
    release: Release, folder: Path, before: str, say: Callable[[str], None], *, anew: bool
) -> None:
    """Fetch a release with Kaggle's own program, which resumes and unpacks by itself.

    Args:
        release: what is fetched.
        folder: what it becomes.
        before: what the addresses answered.
        say: told what happens.
        anew: do not take what Kaggle's program still has from its last call.
    """
    if importlib.util.find_spec("kagglehub") is None:
        raise NoSourceError(
            f"{before}\nKaggle has these images ({release.kaggle}), and its program is not "
            f"installed: call  .venv/bin/python -m uv pip install '.[kaggle]'  in the checkout "
            f"(elsewhere  pip install kagglehub ) and then  {_command(release.name)}  again."
        )
    import kagglehub

    say(f"Fetching {release.kaggle} from Kaggle")
    try:
        again = {"force_download": True} if anew else {}
        fetched = Path(kagglehub.dataset_download(release.kaggle, **again))
    except Exception as error:  # it has a dozen kinds, and requests' besides
        raise NoSourceError(f"{before}\nKaggle did not give {release.kaggle}: {error}") from error
    try:
        with atomic_folder(folder, overwrite=True) as temporary:
            shutil.copytree(
                fetched,
                temporary,
                ignore=lambda place, names: [one for one in names if Path(place, one).is_symlink()],
                copy_function=_link_or_copy,
                dirs_exist_ok=True,
            )
            _finish(release, temporary, [{"source": KAGGLE} for _ in release.files], say)
    except archives.ArchiveError as error:
        raise NoSourceError(
            f"{before}\n{release.kaggle} of Kaggle: {error} Kaggle's program keeps what came in "
            f"{fetched}: remove that folder to fetch it anew."
        ) from error


# -- unpacking -----------------------------------------------------------------------------


def _build(
    release: Release, folder: Path, found: Sequence[Fetched], say: Callable[[str], None]
) -> None:
    """Unpack the fetched files into the folder, which appears when all is well."""
    with atomic_folder(folder, overwrite=True) as temporary:
        for path in (one.path for one in found):
            if not archives.is_archive(path.name):
                _link_or_copy(path, temporary / path.name)
                continue
            size = archives.unpacked_size(path) or path.stat().st_size * disk_space.UNPACKED
            disk_space.require(temporary, size, f"to unpack {path.name}")
            say(f"Unpacking {path.name}")
            archives.unpack(path, temporary)
        facts = [
            {"source": one.source, "size": one.size, "checksum": one.checksum} for one in found
        ]
        _finish(release, temporary, facts, say)


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
    count = None
    if archives.is_archive(release.files[0].file_name):
        from helpers import layouts  # reads images, and so needs numpy: not for `data list`

        try:
            dataset = registry.releases()[release.name]
            count = len(layouts.find_images(folder, dataset).rows)
        except ValueError as error:
            reason = str(error).replace(str(folder), "The archive")
            raise archives.ArchiveError(f"What was fetched is not the dataset. {reason}") from error
        say(f"{count:,} images found.")
    download_record.write(folder, release, facts, count)


def _link_or_copy(source: str | Path, target: str | Path) -> None:
    """Put a file into another folder, without using its space twice where that is possible."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


# -- words ---------------------------------------------------------------------------------


def _unwritable(name: str, folder: Path, error: OSError) -> str:
    """Return that a dataset could not be written, and what becomes of what was fetched."""
    # where the folder cannot be read either, one cannot tell, and nothing has come in this call
    with suppress(OSError):
        if status(name).fetched:
            return (
                f"{name} could not be written: {error}. What was fetched is kept; the next call "
                f"goes on from there. Another place:  TUTORIALS_DATA=<folder>"
            )
    return str(explained(error, f"{name} in {folder}").strerror) + " Nothing was fetched."


def _command(name: str) -> str:
    """Return the command that fetches a release."""
    return command(f"data download {name}")


def _what_to_do(name: str, folder: Path) -> str:
    """Return what a person can do about a folder that does not hold the whole set."""
    kept = [_archives() / file.file_name for file in registry.release(name).files]
    again = [f"remove {path}, which would be used again, and" for path in kept if path.exists()]
    return (
        f"To fetch it again, {' '.join([*again, 'call'])}  {_command(name)}  (it replaces "
        f"{folder}). To work with what is there, give that folder as data_dir instead of the name."
    )
