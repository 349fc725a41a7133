"""Fetching one file over HTTP: goes on where it stopped, and knows a wrong answer when it sees it.

What has come so far lies in a file that ends in ``.part``; beside it a small JSON file says of
what it is the beginning, so that the rest of another file is never put behind it.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn

from helpers import __version__
from helpers.paths import APPLICATION, atomic_file, lock
from helpers.progress import progress_in_bytes

if TYPE_CHECKING:
    import requests

TIMEOUT = (20.0, 60.0)  # seconds to wait for a connection, and for the next bytes
ATTEMPTS = 3  # in a row without a single new byte, before an address is given up
PAUSE = 2.0  # seconds before the second attempt; before the third twice as many
CHUNK = 2**16  # bytes

# How files begin, by their ending: a page that asks "are you a robot?" does not.
SIGNATURES = {".zip": b"PK", ".npz": b"PK", ".gz": b"\x1f\x8b", ".tgz": b"\x1f\x8b"}
_PAGE = re.compile(rb"\s*(<!doctype html|<html|<head|<\?xml)", re.IGNORECASE)


class FetchError(RuntimeError):
    """An address that does not give the file; the text says why."""


class BusyError(RuntimeError):
    """Another process fetches the same file at this moment."""


def downloader(part: Path, file_name: str, size: int | None = None) -> Callable[..., None]:
    """Return a downloader for ``pooch.retrieve``, which goes on with a ``.part`` file.

    Args:
        part: what earlier calls left lies there, and stays there when this one is interrupted.
        file_name: how the file will be called: its ending says how it must begin.
        size: bytes that the file has, where that is known for sure.
    """

    def download(address: str, output_file: str, _: object) -> None:
        complete(address, part, file_name, size)
        part.replace(output_file)
        _note_of(part).unlink(missing_ok=True)

    return download


def complete(address: str, part: Path, file_name: str, size: int | None = None) -> None:
    """Fetch what is missing of a file, at several attempts as long as something comes.

    Args:
        address: where it lies.
        part: the beginning of it, or nothing yet; the whole of it when this returns.
        file_name: how the file will be called: its ending says how it must begin.
        size: bytes that it has, where that is known for sure.

    Raises:
        FetchError: the address does not give the file: it refuses, has nothing, sends something
            else or nothing any more; what came of the right file is kept.
        BusyError: another process does the same at this moment.
        OSError: the disk is full, or the file cannot be written.
    """
    part.parent.mkdir(parents=True, exist_ok=True)
    failures = 0
    with _alone_with(part) as file:
        while True:
            before = file.seek(0, os.SEEK_END)
            try:
                return _fetch_rest(address, file, part, file_name, size)
            except _TryAgain as error:
                failures = 1 if file.seek(0, os.SEEK_END) > before else failures + 1
                if failures >= ATTEMPTS:
                    raise FetchError(str(error)) from error
            time.sleep(PAUSE * failures)


def begins_wrong(start: bytes, file_name: str) -> str:
    """Return what is wrong with the first bytes of a file by its name; empty if nothing is."""
    signature = SIGNATURES.get(Path(file_name).suffix.lower())
    if _PAGE.match(start):
        return "a web page, not the file: perhaps it asks whether you are a robot"
    if signature is not None and not start.startswith(signature):
        return f"not the file: a {Path(file_name).suffix} file does not begin with {start[:8]!r}"
    return ""


class _TryAgain(Exception):  # noqa: N818 - it never leaves this module
    """The connection was cut or stalled, or the server is busy: what came is good."""


@dataclass(frozen=True)
class _Note:
    """What a server says about a file, by which its rest is known to be of the same one."""

    address: str
    size: int | None
    etag: str
    modified: str

    @property
    def validator(self) -> str:
        """What ``If-Range`` takes: a strong entity tag, else the date, else nothing."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified

    def same_file(self, other: _Note | None) -> bool:
        """Return whether two answers are certainly about one and the same file."""
        if other is None or self.address != other.address or self.size != other.size:
            return False
        tags = (self.etag, other.etag) if self.etag and other.etag else ("", "")
        dates = (self.modified, other.modified) if self.modified and other.modified else ("", "")
        known = self.size is not None or tags[0] or dates[0]
        return bool(known) and tags[0] == tags[1] and dates[0] == dates[1]


def _fetch_rest(
    address: str, file: IO[bytes], part: Path, file_name: str, size: int | None
) -> None:
    """Ask once for what is missing, and write it down as it comes."""
    import requests

    note, start = _beginning(address, file, part)
    if note is not None and start == note.size:
        return  # it was all there; only the renaming was missing
    headers = {"Accept-Encoding": "identity", "User-Agent": f"{APPLICATION}/{__version__}"}
    if note is not None:
        headers["Range"] = f"bytes={start}-"
        if note.validator:
            headers["If-Range"] = note.validator
    try:
        with requests.get(address, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            found = _described(address, answer)
            status = answer.status_code
            continues = status == 206 and note is not None
            if continues and not (_first_byte(answer) == start and found.same_file(note)):
                _start_again(file, part)
            if status == 416:  # what is here is longer than what is there
                _start_again(file, part)
            _require_the_file(answer, found, size, 206 if continues else 200)
            if not continues:
                start = 0  # a server that knows no ranges, or another file: from the beginning
            _take(answer, file, part, found, start, file_name)
    except requests.RequestException as error:
        _explain(error)
    _require_all(file, found.size if found.size is not None else size)


def _beginning(address: str, file: IO[bytes], part: Path) -> tuple[_Note | None, int]:
    """Return what is noted about the bytes that are here, and how many they are."""
    start = file.seek(0, os.SEEK_END)
    try:
        note = _Note(**json.loads(_note_of(part).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None, start
    usable = start > 0 and note.address == address and (note.validator or note.size is not None)
    if not usable or (note.size is not None and start > note.size):
        return None, start
    return note, start


def _described(address: str, answer: requests.Response) -> _Note:
    """Return what an answer says about the whole file."""
    headers = answer.headers
    size = headers.get("Content-Length", "")
    if answer.status_code == 206:
        size = headers.get("Content-Range", "").rpartition("/")[2]
    number = int(size) if size.isdecimal() else None
    return _Note(address, number, headers.get("ETag", ""), headers.get("Last-Modified", ""))


def _first_byte(answer: requests.Response) -> int | None:
    """Return where in the file a partial answer begins."""
    match = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _require_the_file(
    answer: requests.Response, found: _Note, size: int | None, expected: int
) -> None:
    """Refuse an answer that cannot be the file, before anything of ours is given up for it."""
    status = answer.status_code
    if status in (408, 425, 429) or status >= 500:
        raise _TryAgain(f"the server is busy or out of order (HTTP {status})")
    if status in (401, 403):
        raise FetchError(f"the server refuses (HTTP {status}): perhaps it wants a browser, or you")
    if status in (404, 410):
        raise FetchError(f"there is nothing any more (HTTP {status})")
    if status != expected:
        raise FetchError(f"the server answers with HTTP {status}")
    if answer.headers.get("Content-Type", "").lower().startswith("text/html"):
        raise FetchError(
            "the server sent a web page, not the file: perhaps it asks whether you are a robot"
        )
    if size is not None and found.size is not None and found.size != size:
        raise FetchError(f"another file: it has {found.size:,} bytes instead of {size:,}")


def _take(
    answer: requests.Response,
    file: IO[bytes],
    part: Path,
    found: _Note,
    start: int,
    file_name: str,
) -> None:
    """Write down the bytes of an answer behind those that are here."""
    # A file that is compressed itself (.tar.gz) is at times announced as a compressed answer,
    # which requests would unpack while it reads.
    answer.raw.headers.pop("Content-Encoding", None)
    chunks = answer.iter_content(CHUNK)
    for number, chunk in enumerate(progress_in_bytes(chunks, file_name, found.size, start)):
        if number == 0 and start == 0:
            wrong = begins_wrong(chunk, file_name)
            if wrong:
                raise FetchError(f"the server sent {wrong}")
            file.truncate(0)
            with atomic_file(_note_of(part)) as temporary:
                temporary.write_text(json.dumps(asdict(found)), encoding="utf-8")
        file.write(chunk)
    file.flush()


def _require_all(file: IO[bytes], size: int | None) -> None:
    """Refuse an answer that ended early (where the server tells no length, by what we know)."""
    here = file.seek(0, os.SEEK_END)
    if here == 0:
        raise FetchError("an empty file")
    if size is not None and here < size:
        raise _TryAgain(f"the connection was cut after {here:,} of {size:,} bytes")
    if size is not None and here > size:
        raise FetchError(f"another file: {here:,} bytes came instead of {size:,}")


def _explain(error: requests.RequestException) -> NoReturn:
    """Raise what a failure of the network means: worth another try, or not."""
    import requests

    text = str(error)
    if isinstance(error, requests.exceptions.SSLError):
        raise FetchError(f"no safe connection: {text}") from error
    if isinstance(error, requests.Timeout) or "timed out" in text:
        seconds = f"{TIMEOUT[0]:g} s for a connection, {TIMEOUT[1]:g} s for the next bytes"
        raise _TryAgain(f"the server has stalled (waited {seconds})") from error
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        raise _TryAgain("the connection was cut, again and again") from error
    if isinstance(error, requests.ConnectionError):
        raise _TryAgain("the server cannot be reached, or has hung up") from error
    raise FetchError(text) from error


def _note_of(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _start_again(file: IO[bytes], part: Path) -> NoReturn:
    """Give up what came so far: it is the beginning of another file."""
    file.truncate(0)
    _note_of(part).unlink(missing_ok=True)
    raise _TryAgain("the file at this address changes while it is fetched")


@contextmanager
def _alone_with(part: Path) -> Iterator[Any]:
    """Yield the part, opened for appending, while no other process may write to it."""
    with part.open("ab") as file:
        if lock(file) is False:  # where there are no locks, two at once are not noticed
            raise BusyError(f"Another process is fetching {part} just now.")
        try:
            yield file
        finally:
            if part.exists() and file.seek(0, os.SEEK_END) == 0:
                part.unlink()  # nothing came: an empty file says nothing
