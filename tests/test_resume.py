"""Fetching over HTTP from a server on this machine: cuts, stalls, changes and wrong answers."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from local_server import File, Server, running

from helpers import resume
from helpers.resume import BusyError, FetchError

DATA = b"PK" + random.Random(0).randbytes(600_000)  # nine pieces as they are written
OTHER = b"PK" + random.Random(1).randbytes(600_000)
NAME = "cells.zip"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server, and no patience with it."""
    monkeypatch.setattr(resume, "TIMEOUT", (5.0, 0.5))
    monkeypatch.setattr(resume, "PAUSE", 0.0)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with running() as server:
        yield server


@pytest.fixture
def part(tmp_path: Path) -> Path:
    """Where the beginning of the file lies; its folder does not exist yet."""
    return tmp_path / "archives" / "cells.zip.part"


def give_up(address: str, part: Path, message: str, **settings: int) -> None:
    """Check that a file cannot be fetched, and what is said."""
    with pytest.raises(FetchError, match=message):
        resume.complete(address, part, NAME, **settings)


def stop_early(server: Server, part: Path, file: File, monkeypatch: pytest.MonkeyPatch) -> str:
    """Fetch the first 300,000 bytes (or a little less) of a file; return its address."""
    address = server.put("/cells.zip", file)
    file.cuts = [300_000]
    with monkeypatch.context() as patch:
        patch.setattr(resume, "ATTEMPTS", 1)
        give_up(address, part, "cut")
    assert 200_000 < part.stat().st_size <= 300_000
    assert file.data.startswith(part.read_bytes())
    server.requests.clear()
    return address


def test_a_file_comes_whole(server: Server, part: Path) -> None:
    resume.complete(server.put("/cells.zip", File(DATA)), part, NAME, len(DATA))
    assert part.read_bytes() == DATA
    (request,) = server.requests
    assert "Range" not in request.headers
    assert request.headers["User-Agent"].startswith("medical-image-tutorials/")


def test_a_cut_connection_is_taken_up_within_one_call(server: Server, part: Path) -> None:
    cuts = [150_000] * (resume.ATTEMPTS + 1)  # each brings something: none counts as in vain
    address = server.put("/cells.zip", File(DATA, cuts=cuts))
    resume.complete(address, part, NAME)
    assert part.read_bytes() == DATA
    first, second, *_, last = server.requests
    assert "Range" not in first.headers
    assert second.headers["Range"].startswith("bytes=1")
    assert second.headers["If-Range"] == '"one"'
    assert last.sent < len(DATA) - 300_000
    fetched = sum(request.sent for request in server.requests)
    assert fetched < len(DATA) + resume.CHUNK * len(server.requests)


def test_the_next_call_goes_on_where_the_last_was_cut(
    server: Server, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = stop_early(server, part, File(DATA), monkeypatch)
    here = part.stat().st_size
    resume.complete(address, part, NAME)
    assert part.read_bytes() == DATA
    (request,) = server.requests
    assert request.headers["Range"] == f"bytes={here}-"
    assert request.sent == len(DATA) - here


def test_what_is_all_here_is_not_asked_for_again(
    server: Server, part: Path, tmp_path: Path
) -> None:
    address = server.put("/cells.zip", File(DATA))
    resume.complete(address, part, NAME)
    assert len(server.requests) == 1
    # a crash before the renaming: the next call only renames
    resume.downloader(part, NAME)(address, str(tmp_path / "whole"), None)
    assert len(server.requests) == 1
    assert (tmp_path / "whole").read_bytes() == DATA
    assert list(part.parent.iterdir()) == []


def test_a_server_without_ranges_sends_all_again(
    server: Server, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = stop_early(server, part, File(DATA, ranges=False), monkeypatch)
    resume.complete(address, part, NAME)
    assert part.read_bytes() == DATA
    assert server.requests[0].sent == len(DATA)


@pytest.mark.parametrize(
    "changed",
    [
        File(OTHER, etag='"two"'),
        File(OTHER, etag='"two"', checks=False),  # sends the rest of the other file, and says so
        File(OTHER[:-9], etag=""),  # no tag any more, but another number of bytes
        File(OTHER[:-9], etag='"one"', checks=False),
    ],
    ids=["heeds If-Range", "ignores If-Range", "other size", "same tag, other size"],
)
def test_another_file_is_never_put_behind_the_first_half(
    server: Server, part: Path, monkeypatch: pytest.MonkeyPatch, changed: File
) -> None:
    address = stop_early(server, part, File(DATA), monkeypatch)
    server.put("/cells.zip", changed)
    resume.complete(address, part, NAME)
    assert part.read_bytes() == changed.data


def test_dates_tell_files_apart_where_there_are_no_tags(
    server: Server, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    date = "Mon, 01 Jan 2018 00:00:00 GMT"
    address = stop_early(server, part, File(DATA, etag="", modified=date), monkeypatch)
    later = File(OTHER, etag="", modified="Tue, 02 Jan 2018 00:00:00 GMT", checks=False)
    server.put("/cells.zip", later)
    resume.complete(address, part, NAME)
    assert server.requests[0].headers["If-Range"] == date
    assert part.read_bytes() == OTHER


def test_the_half_of_another_address_is_not_used(
    server: Server, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_early(server, part, File(DATA), monkeypatch)
    resume.complete(server.put("/mirror.zip", File(OTHER)), part, NAME)
    assert "Range" not in server.requests[0].headers
    assert part.read_bytes() == OTHER


def test_a_half_without_its_note_is_not_used(
    server: Server, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = stop_early(server, part, File(DATA), monkeypatch)
    (note,) = (path for path in part.parent.iterdir() if path != part)
    note.write_text("[broken", encoding="utf-8")
    resume.complete(address, part, NAME)
    assert "Range" not in server.requests[0].headers
    assert part.read_bytes() == DATA


def test_a_part_from_another_place_is_not_put_behind_the_first_half(
    server: Server, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = stop_early(server, part, File(DATA, skew=10), monkeypatch)
    resume.complete(address, part, NAME)
    assert part.read_bytes() == DATA
    assert [("Range" in request.headers) for request in server.requests] == [True, False]


def test_a_weak_tag_is_not_sent_as_a_condition(
    server: Server, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = stop_early(server, part, File(DATA, etag='W/"one"'), monkeypatch)
    resume.complete(address, part, NAME)
    assert "If-Range" not in server.requests[0].headers
    assert "Range" in server.requests[0].headers  # the size tells
    assert part.read_bytes() == DATA


def test_a_part_that_is_longer_than_the_file_is_given_up(
    server: Server, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = stop_early(server, part, File(DATA), monkeypatch)
    server.put("/cells.zip", File(OTHER[:1_000], checks=False))  # answers with 416
    resume.complete(address, part, NAME)
    assert part.read_bytes() == OTHER[:1_000]


def test_a_file_of_unknown_length_comes_whole(server: Server, part: Path) -> None:
    address = server.put("/cells.zip", File(DATA, length=False, etag=""))
    resume.complete(address, part, NAME)
    assert part.read_bytes() == DATA
    part.unlink()
    # cut, and nothing but our own knowledge tells
    address = server.put("/cells.zip", File(DATA, length=False, etag="", cuts=[100_000]))
    server.requests.clear()
    resume.complete(address, part, NAME, len(DATA))
    assert "Range" not in server.requests[1].headers  # nothing says that it is the same file
    assert part.read_bytes() == DATA


@pytest.mark.parametrize("code", [401, 403, 404, 410, 418])
def test_a_refusal_is_final_and_leaves_nothing(server: Server, part: Path, code: int) -> None:
    give_up(server.put("/cells.zip", File(DATA, statuses=[code])), part, f"HTTP {code}")
    assert len(server.requests) == 1
    assert list(part.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("codes", "reason"),
    [
        ((401, 403), r"the server refuses \(HTTP 40[13]\): perhaps it wants a browser, or you"),
        ((404, 410), r"there is nothing any more \(HTTP 4[01][04]\)"),
        ((418,), r"the server answers with HTTP 418"),
    ],
)
def test_a_refusal_says_what_it_may_mean(
    server: Server, part: Path, codes: tuple[int, ...], reason: str
) -> None:
    for code in codes:
        give_up(server.put("/cells.zip", File(DATA, statuses=[code])), part, reason)


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_busy_server_is_asked_again(server: Server, part: Path, code: int) -> None:
    resume.complete(server.put("/cells.zip", File(DATA, statuses=[code, code])), part, NAME)
    assert part.read_bytes() == DATA
    part.unlink()
    give_up(server.put("/cells.zip", File(DATA, statuses=[code] * 3)), part, f"HTTP {code}")


PAGE = b"\n<!DOCTYPE html><html><title>Are you a robot?</title></html>"


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/zip"])
def test_a_page_instead_of_the_file_is_refused(server: Server, part: Path, kind: str) -> None:
    give_up(server.put("/cells.zip", File(PAGE, kind=kind)), part, "web page")
    assert list(part.parent.iterdir()) == []


def test_a_page_does_not_cost_what_has_come_before(
    server: Server, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = stop_early(server, part, File(DATA), monkeypatch)
    before = part.read_bytes()
    for kind in ("text/html", "application/zip"):
        server.put("/cells.zip", File(PAGE, ranges=False, kind=kind))
        give_up(address, part, "web page")
        assert part.read_bytes() == before
    server.put("/cells.zip", File(DATA))
    resume.complete(address, part, NAME)
    assert part.read_bytes() == DATA
    assert server.requests[-1].sent == len(DATA) - len(before)


@pytest.mark.parametrize(
    ("name", "start", "wrong"),
    [
        ("a.zip", b"PK\x03\x04", ""),
        ("a.npz", b"PK\x03\x04", ""),
        ("a.tar.gz", b"\x1f\x8b\x08", ""),
        ("a.csv", b"C1,cell.png", ""),
        ("a.zip", b"\x1f\x8b\x08", "a .zip file does not begin"),
        ("a.tar.gz", b"PK\x03\x04", "a .gz file does not begin"),
        ("a.csv", b"  <html>", "web page"),
        ("a.zip", b"<?xml version='1.0'?><Error>", "web page"),
        ("a.zip", b"", "does not begin"),
    ],
)
def test_the_first_bytes_tell_a_wrong_file(name: str, start: bytes, wrong: str) -> None:
    found = resume.begins_wrong(start, name)
    assert wrong in found
    assert bool(wrong) == bool(found)


def test_a_redirection_is_followed_with_the_range(
    server: Server, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.put("/store/0815", File(DATA, cuts=[300_000]))
    address = server.put("/cells.zip", File(elsewhere="/store/0815"))
    resume.complete(address, part, NAME)
    assert part.read_bytes() == DATA
    assert [request.path for request in server.requests] == ["/cells.zip", "/store/0815"] * 2
    assert "Range" in server.requests[-1].headers
    assert server.requests[-1].sent < len(DATA) - 200_000


def test_a_redirection_in_a_circle_is_given_up(server: Server, part: Path) -> None:
    address = server.put("/cells.zip", File(elsewhere="/cells.zip"))
    give_up(address, part, "redirect")


def test_a_stalled_server_is_given_up_in_words_and_what_came_is_kept(
    server: Server, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume, "TIMEOUT", (5.0, 0.2))
    address = server.put("/cells.zip", File(DATA, cuts=[200_000, 0, 0, 0], stalls=True))
    begin = time.monotonic()
    give_up(address, part, "the server has stalled .*0.2 s for the next bytes")
    assert time.monotonic() - begin < 5
    assert DATA.startswith(part.read_bytes())
    assert part.stat().st_size > 100_000
    resume.complete(address, part, NAME)
    assert part.read_bytes() == DATA


def test_a_slow_server_is_waited_for(server: Server, part: Path) -> None:
    # longer in all than the limit for the next bytes
    resume.complete(server.put("/cells.zip", File(DATA, pause=0.03)), part, NAME)
    assert part.read_bytes() == DATA


def test_a_server_that_is_not_there(part: Path, server: Server) -> None:
    address = server.put("/cells.zip", File(DATA))
    server.server_close()
    give_up(address, part, "cannot be reached")
    assert list(part.parent.iterdir()) == []


def test_an_address_that_is_none(part: Path) -> None:
    give_up("no address", part, "no address")


def test_another_size_than_known_is_refused_before_it_comes(server: Server, part: Path) -> None:
    address = server.put("/cells.zip", File(DATA))
    give_up(address, part, "600,002 bytes instead of 600,003", size=600_003)
    assert list(part.parent.iterdir()) == []


def test_more_than_known_is_refused(server: Server, part: Path) -> None:
    address = server.put("/cells.zip", File(DATA, length=False))
    give_up(address, part, "600,002 bytes came instead of 500,000", size=500_000)


def test_an_empty_file_is_refused(server: Server, part: Path) -> None:
    give_up(server.put("/cells.zip", File(b"")), part, "empty")
    assert list(part.parent.iterdir()) == []


def test_a_compressed_file_is_not_unpacked_on_the_way(server: Server, part: Path) -> None:
    import gzip

    data = gzip.compress(bytes(100_000))
    address = server.put("/set.tar.gz", File(data, encoding="gzip"))
    resume.complete(address, part, "set.tar.gz")
    assert part.read_bytes() == data
    assert server.requests[0].headers["Accept-Encoding"] == "identity"


def test_two_at_once_do_not_write_into_one_file(
    server: Server, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = stop_early(server, part, File(DATA), monkeypatch)
    with (
        resume._alone_with(part),
        pytest.raises(BusyError, match="Another process is fetching"),
    ):
        resume.complete(address, part, NAME)
    assert server.requests == []
    resume.complete(address, part, NAME)
    assert part.read_bytes() == DATA


def interrupt_after(pieces: int) -> Callable[..., Iterator[bytes]]:
    """Return what stands in for the progress bar and presses Ctrl-C after so many pieces."""

    def passing(chunks: Iterator[bytes], *_: object) -> Iterator[bytes]:
        for number, chunk in enumerate(chunks):
            if number == pieces:
                raise KeyboardInterrupt
            yield chunk

    return passing


def test_ctrl_c_keeps_what_has_come(
    server: Server, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = server.put("/cells.zip", File(DATA))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(resume, "progress_in_bytes", interrupt_after(3))
        resume.complete(address, part, NAME)
    assert part.read_bytes() == DATA[: 3 * resume.CHUNK]
    server.requests.clear()
    resume.complete(address, part, NAME)
    assert part.read_bytes() == DATA
    assert server.requests[0].headers["Range"] == f"bytes={3 * resume.CHUNK}-"


def test_a_real_ctrl_c_is_heard_while_waiting_for_the_server(server: Server, part: Path) -> None:
    address = server.put("/cells.zip", File(DATA, cuts=[300_000], stalls=True))

    def press() -> None:
        while not part.exists() or part.stat().st_size < 200_000:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    presser = threading.Thread(target=press, daemon=True)
    presser.start()
    with pytest.raises(KeyboardInterrupt):
        resume.complete(address, part, NAME)
        time.sleep(5)  # the signal comes within milliseconds
    presser.join()
    assert DATA.startswith(part.read_bytes())
    resume.complete(address, part, NAME)
    assert part.read_bytes() == DATA


def test_ctrl_c_before_the_first_byte_leaves_nothing(
    server: Server, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume, "progress_in_bytes", interrupt_after(0))
    with pytest.raises(KeyboardInterrupt):
        resume.complete(server.put("/cells.zip", File(DATA)), part, NAME)
    assert list(part.parent.iterdir()) == []
