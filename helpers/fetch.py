"""One file of a dataset: fetched from the first address that gives it, and checked.

pooch compares checksums and lets no file appear that is not whole; ``helpers.resume`` is what
it fetches with.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers import resume
from helpers.paths import atomic_file
from helpers.registry import Download

BY_HAND = "a file that lay there"  # a source without an address


class NoSourceError(RuntimeError):
    """No address gives the file; the text says what each of them answered."""


class WrongFileError(ValueError):
    """What lies where the file should be is something else."""


@dataclass(frozen=True)
class Fetched:
    """A file that is here, whole and checked.

    Attributes:
        path: where it lies.
        size: bytes.
        checksum: ``"sha256:…"`` or ``"md5:…"``.
        source: the address that it came from, or ``BY_HAND``.
    """

    path: Path
    size: int
    checksum: str
    source: str

    @property
    def by_hand(self) -> bool:
        """True where a person has put it there: then it is not ours to remove."""
        return self.source == BY_HAND


def fetch(file: Download, folder: Path, say: Callable[[str], None]) -> Fetched:
    """Return a file, from the folder if it lies there already, else from its addresses.

    Where nobody has published a checksum, that of the first download is kept in a JSON file
    beside it, and later downloads are compared with that.

    Args:
        file: what is wanted.
        folder: made where it is missing. What an interrupted call has fetched lies there too,
            as ``….part``.
        say: told what happens, a sentence at a time.

    Raises:
        NoSourceError: no address gives it.
        WrongFileError: a file of that name lies there and is another one.
        helpers.resume.BusyError: another process fetches it at this moment.
        OSError: the disk is full, or the folder cannot be written.
    """
    target = folder / file.file_name
    noted = _note_of(target)
    known = file.checksum or _read(noted).get("checksum")
    source = str(_read(noted).get("source", BY_HAND))
    if target.exists():
        _require_right(target, file, known)
    else:
        source = _from_addresses(file, folder, known, say)
    size = target.stat().st_size
    fetched = Fetched(target, size, known or f"sha256:{_digits(target, 'sha256')}", source)
    if file.checksum is None:
        facts = {"checksum": fetched.checksum, "size": size, "source": source}
        with atomic_file(noted) as temporary:
            temporary.write_text(json.dumps(facts, indent=1), encoding="utf-8")
    return fetched


def waiting(file: Download, folder: Path) -> int:
    """Return how many bytes of a file have been fetched into a folder so far."""
    parts = [_part(file, folder, address) for address in file.addresses]
    here = [path.stat().st_size for path in (folder / file.file_name, *parts) if path.exists()]
    return max(here, default=0)


def forget(fetched: Fetched) -> None:
    """Remove a file and the checksum that was kept of it; what a person has put there stays."""
    if not fetched.by_hand:
        fetched.path.unlink(missing_ok=True)
    _note_of(fetched.path).unlink(missing_ok=True)


def in_words(size: float) -> str:
    """Return a number of bytes as a person says it: ``"353 MB"``."""
    return f"{size / 1e6:,.0f} MB" if size >= 5e5 else f"{size / 1e3:,.0f} kB"


def _from_addresses(
    file: Download, folder: Path, known: str | None, say: Callable[[str], None]
) -> str:
    """Fetch a file from the first address that gives it; return that address."""
    import pooch

    pooch.get_logger().setLevel("WARNING")  # what it would tell is told here
    problems = []
    for address in file.addresses:
        part = _part(file, folder, address)
        say(_announcement(file, address, part))
        try:
            pooch.retrieve(
                address,
                known_hash=known,
                fname=file.file_name,
                path=folder,
                downloader=resume.downloader(part, file.file_name, file.size),
            )
        except resume.FetchError as error:
            problems.append(f"{address}: {error}.")
        except ValueError as error:  # pooch's: it has removed the file
            problems.append(f"{address}: another file. {error}")
            if not file.checksum:
                noted = _note_of(folder / file.file_name)
                problems[-1] += f" That was noted at the first download, in {noted}."
        else:
            _remove_parts(file, folder)
            return address
        say(f"  {problems[-1]}")
    reasons = "".join(f"\n  {problem}" for problem in problems)
    raise NoSourceError(f"{file.file_name} could not be fetched.{reasons}")


def _announcement(file: Download, address: str, part: Path) -> str:
    """Return what is going to be fetched, how much of it, and from where."""
    size = f" ({in_words(file.expected_size)})" if file.expected_size else ""
    here = part.stat().st_size if part.exists() else 0
    more = f", {in_words(here)} of it fetched before" if here else ""
    return f"Fetching {file.file_name}{size} from {address}{more}"


def _part(file: Download, folder: Path, address: str) -> Path:
    """Return where the beginning of a file lies: one place for each address.

    So a mirror that breaks off does not cost what another has sent.
    """
    mark = hashlib.sha256(address.encode()).hexdigest()[:8]
    return folder / f"{file.file_name}.{mark}.part"


def _remove_parts(file: Download, folder: Path) -> None:
    """Remove what other addresses have sent of a file that is here now."""
    for address in file.addresses:
        part = _part(file, folder, address)
        part.unlink(missing_ok=True)
        _note_of(part).unlink(missing_ok=True)


def _require_right(target: Path, file: Download, known: str | None) -> None:
    """Refuse a file that lies there but is not the one that was meant."""
    with target.open("rb") as opened:
        wrong = resume.begins_wrong(opened.read(64), file.file_name)
    size = target.stat().st_size
    if not wrong and file.size is not None and size != file.size:
        wrong = f"another file: it has {size:,} bytes instead of {file.size:,}"
    if not wrong and known is not None:
        algorithm, _, expected = known.partition(":")
        found = _digits(target, algorithm)
        if found != expected:
            wrong = f"another file: its {algorithm} is {found}, expected {expected}"
            if not file.checksum:
                wrong += f" (noted at the first download, in {_note_of(target)})"
    if wrong:
        raise WrongFileError(f"{target} is {wrong}. Remove it and call again.")


def _digits(path: Path, algorithm: str) -> str:
    """Return a file's checksum as hexadecimal digits."""
    import pooch

    return str(pooch.file_hash(str(path), alg=algorithm))


def _note_of(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _read(path: Path) -> dict[str, Any]:
    """Return what a JSON file holds; nothing where it cannot be read."""
    with suppress(OSError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
    return {}
