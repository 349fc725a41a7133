"""Fetching datasets from a server on this machine: whole, checked and where one looks for them."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import types
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from local_server import File, Server, running
from test_archives import write_tar, write_zip
from test_resume import DATA, PAGE, interrupt_after
from tiny_images import PATIENTS, draw_cells

from helpers import archives, claim, downloads, fetch, registry, resume
from helpers.command import command
from helpers.downloads import DownloadError
from helpers.index import load_index
from helpers.registry import Download, Release

NAME = "small.npz"
SHA256 = f"sha256:{hashlib.sha256(DATA).hexdigest()}"
MD5 = f"md5:{hashlib.md5(DATA).hexdigest()}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    """A server, no patience with it, and a data home of our own."""
    monkeypatch.setattr(resume, "TIMEOUT", (5.0, 0.5))
    monkeypatch.setattr(resume, "PAUSE", 0.0)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("TUTORIALS_DATA", str(tmp_path / "home"))
    with running() as server:
        yield server


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The folder with what has been downloaded."""
    return tmp_path / "home" / "downloads"


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> dict[str, Release]:
    """What the registry knows of releases of malaria; add yours."""
    releases: dict[str, Release] = {}
    malaria = registry.get("malaria")
    monkeypatch.setattr(registry, "releases", lambda: dict.fromkeys(releases, malaria))
    monkeypatch.setattr(registry, "release", lambda name: releases[name])
    return releases


def add(
    known: dict[str, Release],
    *addresses: str,
    checksum: str | None = SHA256,
    file_name: str = NAME,
    name: str = "small",
    **settings: Any,
) -> None:
    """Make a release known that has one file, and as many images as ``cells`` gives."""
    settings.setdefault("counts", {"images": 2 * len(PATIENTS)})
    file = Download(file_name, addresses, checksum)
    known[name] = Release(name, (file,), (file_name,), **settings)


def add_cells(known: dict[str, Release], server: Server, folder: Path, name: str = "small") -> None:
    """Make a release known that is a zip file of cells, of unknown checksum."""
    archive = write_zip(folder / "set.zip", cells(folder))
    add(known, server.put("/set", File(archive.read_bytes())), checksum=None,
        file_name=archive.name, name=name)  # fmt: skip


def entries(folder: Path) -> list[str]:
    """Return what lies below a folder, files only."""
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def fail(name: str, *messages: str) -> str:
    """Check that a download fails, and what is said; return that."""
    with pytest.raises(DownloadError) as caught:
        downloads.download(name, say=lambda _: None)
    for message in messages:
        assert message in str(caught.value)
    return str(caught.value)


def cells(tmp_path: Path) -> dict[str, bytes]:
    """Return the files of a tiny malaria archive."""
    root = draw_cells(tmp_path / "drawn", each=1)
    return {path: (root / path).read_bytes() for path in entries(root)}


# -- a file that comes ---------------------------------------------------------------------


@pytest.mark.parametrize("checksum", [SHA256, MD5, None])
def test_a_download_is_whole_recorded_and_said(
    server: Server, home: Path, known: dict[str, Release], checksum: str | None
) -> None:
    address = server.put("/small.npz", File(DATA))
    add(known, address, checksum=checksum)
    said: list[str] = []
    folder = downloads.download("small", say=said.append)
    assert folder == home / "small"
    assert (folder / NAME).read_bytes() == DATA
    assert said[0] == f"Licence: {registry.get('malaria').licence}."
    assert any(address in sentence for sentence in said)
    record = json.loads((folder / downloads.RECORD).read_text("utf-8"))
    assert record["files"] == [
        {"file": NAME, "source": address, "size": len(DATA), "checksum": checksum or SHA256}
    ]
    assert downloads.status("small").complete
    # a checksum that nobody has published is kept for the next time
    assert entries(home / "archives") == ([] if checksum else [f"{NAME}.json"])


def test_what_is_complete_is_not_fetched_again(server: Server, known: dict[str, Release]) -> None:
    add(known, server.put("/small.npz", File(DATA)))
    folder = downloads.download("small")
    server.requests.clear()
    said: list[str] = []
    assert downloads.download("small", say=said.append) == folder
    assert server.requests == []
    assert "here already" in said[0]


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
@pytest.mark.parametrize("keep", [False, True])
def test_an_archive_is_unpacked_and_its_images_are_found(
    server: Server,
    home: Path,
    tmp_path: Path,
    known: dict[str, Release],
    kind: str,
    keep: bool,
) -> None:
    content = cells(tmp_path)
    archive = tmp_path / f"set.{kind}"
    (write_zip if kind == "zip" else write_tar)(archive, content)
    address = server.put("/set", File(archive.read_bytes()))
    add(known, address, checksum=None, file_name=archive.name)
    said: list[str] = []
    folder = downloads.download("small", keep_archive=keep, say=said.append)
    assert f"{len(content)} images found." in said
    assert entries(folder) == sorted([*content, downloads.RECORD])
    assert (home / "archives" / archive.name).exists() == keep


def test_a_licence_that_forbids_commerce_is_said_before_anything_is_fetched(
    server: Server, known: dict[str, Release], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "releases", lambda: {"small": registry.get("brain_mri")})
    add(known)
    said: list[str] = []
    with pytest.raises(DownloadError):
        downloads.download("small", say=said.append)
    assert "not used commercially" in said[0]


# -- addresses that do not give it ---------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (File(statuses=[404]), "HTTP 404"),
        (File(statuses=[403]), "HTTP 403"),
        (File(PAGE, kind="text/html"), "web page"),
        (File(PAGE), "web page"),
        (File(DATA[:-1] + b"?"), "another file"),
        (File(DATA, cuts=[300_000, 0, 0]), "cut"),  # what it has sent is not kept either
    ],
    ids=["404", "403", "robot page", "robot page as a file", "wrong checksum", "cut off"],
)
def test_a_mirror_is_asked_when_the_first_address_fails(
    server: Server, home: Path, known: dict[str, Release], first: File, reason: str
) -> None:
    good = server.put("/mirror", File(DATA))
    add(known, server.put("/first", first), good)
    said: list[str] = []
    folder = downloads.download("small", say=said.append)
    assert (folder / NAME).read_bytes() == DATA
    assert any(reason in sentence for sentence in said)
    record = json.loads((folder / downloads.RECORD).read_text("utf-8"))
    assert record["files"][0]["source"] == good
    assert entries(home / "archives") == []


def test_when_all_addresses_fail_each_reason_and_the_recipe_are_told(
    server: Server, home: Path, known: dict[str, Release]
) -> None:
    gone, wrong = server.put("/a", File(statuses=[404])), server.put("/b", File(DATA + b"?"))
    add(known, gone, wrong)
    text = fail("small", f"{gone}: there is nothing any more (HTTP 404).", f"{wrong}: another file")
    assert hashlib.sha256(DATA + b"?").hexdigest() in text
    assert "  1. Open  " in text
    assert str(home / "archives" / NAME) in text
    assert entries(home) == []  # the wrong file is gone
    assert not downloads.status("small").complete


def test_a_wrong_checksum_is_fetched_anew_by_the_next_call(
    server: Server, known: dict[str, Release]
) -> None:
    add(known, server.put("/a", File(DATA[:-1] + b"?")))
    fail("small", "another file")
    server.put("/a", File(DATA))
    server.requests.clear()
    downloads.download("small")
    assert "Range" not in server.requests[0].headers


def test_a_mirror_does_not_cost_what_the_first_address_has_sent(
    server: Server, known: dict[str, Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume, "ATTEMPTS", 1)
    first = server.put("/a", File(DATA, cuts=[400_000]))
    second = server.put("/b", File(DATA, cuts=[200_000]))
    add(known, first, second)
    fail("small", "cut")
    here = downloads.status("small").fetched
    assert 300_000 < here <= 400_000
    server.requests.clear()
    downloads.download("small")
    (request,) = server.requests
    assert (request.path, request.headers["Range"]) == ("/a", f"bytes={here}-")


def test_a_file_without_a_checksum_is_compared_with_the_first_download(
    server: Server, home: Path, known: dict[str, Release]
) -> None:
    address = server.put("/a", File(DATA))
    add(known, address, checksum=None)
    downloads.download("small")
    (home / "small" / NAME).unlink()
    server.put("/a", File(DATA[:-1] + b"?", etag='"two"'))
    noted = home / "archives" / f"{NAME}.json"
    fail("small", "another file", f"noted at the first download, in {noted}")
    noted.unlink()
    assert (downloads.download("small") / NAME).read_bytes().endswith(b"?")


# -- interrupted ---------------------------------------------------------------------------


def test_ctrl_c_leaves_the_part_and_nothing_else_and_the_next_call_goes_on(
    server: Server, home: Path, known: dict[str, Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    add(known, server.put("/a", File(DATA)))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(resume, "progress_in_bytes", interrupt_after(4))
        downloads.download("small")
    part, note = sorted((home / "archives").iterdir())
    assert part.name.endswith(".part")
    assert note.name == f"{part.name}.json"
    assert part.stat().st_size == downloads.status("small").fetched == 4 * resume.CHUNK
    assert entries(home) == [f"archives/{part.name}", f"archives/{note.name}"]
    server.requests.clear()
    said: list[str] = []
    downloads.download("small", say=said.append)
    assert any("262 kB of it fetched before" in sentence for sentence in said)
    assert server.requests[0].headers["Range"] == f"bytes={4 * resume.CHUNK}-"
    assert server.requests[0].sent == len(DATA) - 4 * resume.CHUNK
    assert entries(home) == [f"small/{downloads.RECORD}", f"small/{NAME}"]


def test_ctrl_c_while_unpacking_leaves_the_archive_which_the_next_call_uses(
    server: Server,
    home: Path,
    tmp_path: Path,
    known: dict[str, Release],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add_cells(known, server, tmp_path)

    def interrupted(members: Iterator[object], *_: object) -> Iterator[object]:
        yield next(iter(members))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(archives, "progress", interrupted)
        downloads.download("small")
    assert entries(home) == ["archives/set.zip", "archives/set.zip.json"]
    assert [path.name for path in home.iterdir()] == ["archives"]
    server.requests.clear()
    downloads.download("small")
    assert server.requests == []
    assert downloads.status("small").complete


# -- by hand -------------------------------------------------------------------------------


def test_a_file_saved_by_hand_is_checked_and_used(
    server: Server, home: Path, known: dict[str, Release]
) -> None:
    add(known, server.put("/a", File(statuses=[403])))
    text = fail("small")
    saved = home / "archives" / NAME
    assert str(saved) in text
    saved.write_bytes(DATA)
    folder = downloads.download("small")
    assert (folder / NAME).read_bytes() == DATA


@pytest.mark.parametrize(
    ("saved", "checksum", "wrong"),
    [
        (PAGE, SHA256, "web page"),
        (PAGE, None, "web page"),
        (DATA[:-1], SHA256, "its sha256 is"),
        (DATA[:-1], MD5, "its md5 is"),
        (b"\x1f\x8b", None, "does not begin"),
    ],
)
def test_a_wrong_file_saved_by_hand_is_refused_and_left(
    server: Server,
    home: Path,
    known: dict[str, Release],
    saved: bytes,
    checksum: str | None,
    wrong: str,
) -> None:
    add(known, server.put("/a", File(DATA)), checksum=checksum)
    place = home / "archives" / NAME
    place.parent.mkdir(parents=True)
    place.write_bytes(saved)
    fail("small", str(place), wrong, "Remove it and call again.", "  1. Open  ")
    assert place.read_bytes() == saved
    assert server.requests == []


def test_the_size_is_compared_where_there_is_no_checksum(
    server: Server, home: Path, known: dict[str, Release]
) -> None:
    file = Download(NAME, (server.put("/a", File(DATA)),), None, size=len(DATA) + 1)
    known["small"] = Release("small", (file,), (NAME,))
    fail("small", "another file: it has 600,002 bytes instead of 600,003", "By hand:")
    (home / "archives" / NAME).write_bytes(DATA)
    fail("small", "600,002 bytes instead of 600,003", "Remove it and call again.")


@pytest.mark.parametrize("name", list(registry.releases()))
def test_every_recipe_has_numbered_steps_and_a_tree(name: str) -> None:
    text = downloads.recipe(name)
    release = registry.release(name)
    for number, file in enumerate(release.files, 1):
        assert f"\n  {number}. Open  https://" in text
        assert f"archives/{file.file_name}" in text
        if file.checksum:
            assert file.checksum.partition(":")[2] in text
        for address in file.addresses:
            assert address in text
    assert f"  {len(release.files) + 1}. Call  {command(f'data download {name}')}  " in text
    for path in release.tree:
        *folders, file_name = path.split("/")
        assert file_name in text
        assert all(f"{folder}/\n" in text for folder in folders)


def test_the_tree_shows_each_folder_once(known: dict[str, Release]) -> None:
    known["x"] = Release(
        "x", (Download("x.zip", ("https://x.y/x",)),), ("a/b/1.png", "a/b/2.png", "a/c/3.png", "l")
    )
    lines = downloads.recipe("x").splitlines()
    assert lines[lines.index("    a/") :] == [
        "    a/",
        "      b/",
        "        1.png, …",
        "        2.png, …",
        "      c/",
        "        3.png, …",
        "    l",
    ]


# -- archives that are not the dataset -----------------------------------------------------


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"../../../evil.txt": b"x"}, "outside of the folder"),
        ({"/evil.txt": b"x"}, "outside of the folder"),
        ({"cells/readme.txt": b"x"}, "What was fetched is not the dataset"),
    ],
    ids=["climbs", "absolute", "another dataset"],
)
def test_a_bad_archive_leaves_no_folder(
    server: Server,
    home: Path,
    tmp_path: Path,
    known: dict[str, Release],
    content: dict[str, bytes],
    reason: str,
    published: bool,
) -> None:
    archive = write_zip(tmp_path / "set.zip", content)
    data = archive.read_bytes()
    checksum = f"sha256:{hashlib.sha256(data).hexdigest()}" if published else None
    add(known, server.put("/set", File(data)), checksum=checksum, file_name="set.zip")
    text = fail("small", reason)
    assert "  1. Open  " in text
    # what nobody vouches for is removed, or the next call would only find it again
    assert entries(home) == (["archives/set.zip"] if published else [])
    assert not list(tmp_path.rglob("evil.txt"))


def test_a_cut_archive_without_length_or_checksum_is_not_kept(
    server: Server, home: Path, tmp_path: Path, known: dict[str, Release]
) -> None:
    data = write_zip(tmp_path / "set.zip", cells(tmp_path)).read_bytes()
    address = server.put("/set", File(data, length=False, cuts=[len(data) // 2]))
    add(known, address, checksum=None, file_name="set.zip")
    fail("small", f"set.zip could not be fetched.\n  {address}: ", "damaged", "  1. Open  ")
    downloads.download("small")
    assert downloads.status("small").complete


@pytest.mark.parametrize(
    "bad",
    [b"PK and nothing more", None],
    ids=["damaged", "another dataset"],
)
def test_the_next_address_is_asked_when_the_archive_of_the_first_is_bad(
    server: Server, home: Path, tmp_path: Path, known: dict[str, Release], bad: bytes | None
) -> None:
    good = write_zip(tmp_path / "set.zip", cells(tmp_path)).read_bytes()
    if bad is None:
        bad = write_zip(tmp_path / "bad.zip", {"readme.txt": b"x"}).read_bytes()
    first, second = server.put("/bad", File(bad)), server.put("/good", File(good))
    add(known, first, second, checksum=None, file_name="set.zip")
    said: list[str] = []
    folder = downloads.download("small", say=said.append)
    assert downloads.status("small").complete
    assert any(sentence.startswith(f"  {first}: ") for sentence in said)
    record = json.loads((folder / downloads.RECORD).read_text("utf-8"))
    assert record["files"][0]["source"] == second
    assert entries(home / "archives") == ["set.zip.json"]


def test_kaggle_is_asked_when_the_archives_of_all_addresses_are_bad(
    server: Server, known: dict[str, Release], kaggle: types.ModuleType
) -> None:
    bad = server.put("/bad", File(b"PK and nothing more"))
    add(known, bad, checksum=None, file_name="archive.zip", kaggle="somebody/cells")
    downloads.download("small")
    assert kaggle.asked == ["somebody/cells"]
    assert downloads.status("small").complete


def test_what_kaggle_gives_may_be_bad_too(
    server: Server, tmp_path: Path, known: dict[str, Release], kaggle: types.ModuleType
) -> None:
    bad = server.put("/bad", File(b"PK and nothing more"))
    add(known, bad, checksum=None, file_name="archive.zip", kaggle="somebody/cells")
    (tmp_path / "empty").mkdir()
    kaggle.dataset_download = lambda _: str(tmp_path / "empty")  # type: ignore[attr-defined]
    fail("small", f"{bad}: ", "damaged", "somebody/cells of Kaggle: What was fetched is not the",
         f"in {tmp_path / 'empty'}: remove that folder",
         "  1. Open  ")  # fmt: skip


@pytest.mark.parametrize("content", [b"PK and nothing more", None], ids=["damaged", "other files"])
def test_an_archive_that_was_saved_by_hand_is_never_removed(
    server: Server, home: Path, tmp_path: Path, known: dict[str, Release], content: bytes | None
) -> None:
    good = write_zip(tmp_path / "set.zip", cells(tmp_path)).read_bytes()
    add(known, server.put("/good", File(good)), checksum=None, file_name="set.zip")
    saved = home / "archives" / "set.zip"
    saved.parent.mkdir(parents=True)
    write_zip(saved, {"readme.txt": b"x"})
    if content:
        saved.write_bytes(content)
    before = saved.read_bytes()
    reason = "damaged" if content else "not the dataset"
    for _ in range(2):  # the second call, too
        fail("small", reason, f"you have put there, and it stays: {saved}.", "  1. Open  ")
        assert saved.read_bytes() == before
    assert server.requests == []
    saved.unlink()
    downloads.download("small")  # its checksum was not kept: it binds nobody
    assert downloads.status("small").complete


# -- room ----------------------------------------------------------------------------------


def set_free(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    """Pretend that so many bytes are free everywhere."""
    usage = types.SimpleNamespace(free=free)
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda _: usage)


def test_nothing_is_fetched_without_room_for_archive_and_images(
    server: Server, home: Path, known: dict[str, Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    address = server.put("/set.zip", File(DATA))
    file = Download("set.zip", (address,), None, megabytes=100)
    known["small"] = Release("small", (file,), ("x",))
    set_free(monkeypatch, 219_000_000)
    fail("small", "219 MB free", "220 MB are needed", "TUTORIALS_DATA=<folder>", str(home),
         "  1. Open  ")  # fmt: skip
    assert server.requests == []
    set_free(monkeypatch, 221_000_000)
    fail("small", "damaged")  # it was fetched


def test_what_has_been_fetched_needs_no_room_twice(
    server: Server, home: Path, known: dict[str, Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = Download(NAME, (), SHA256, size=len(DATA))
    known["small"] = Release("small", (file,), (NAME,))
    (home / "archives").mkdir(parents=True)
    (home / "archives" / NAME).write_bytes(DATA)
    set_free(monkeypatch, 1)
    assert (downloads.download("small") / NAME).read_bytes() == DATA


def test_an_archive_that_unpacks_to_more_than_there_is_room_for_is_kept(
    server: Server,
    home: Path,
    tmp_path: Path,
    known: dict[str, Release],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = write_zip(tmp_path / "set.zip", {"a.png": bytes(3_000_000)}).read_bytes()
    add(known, server.put("/set", File(data)), checksum=None, file_name="set.zip")
    set_free(monkeypatch, 2_900_000)
    fail("small", "3 MB are needed to unpack set.zip")
    assert entries(home) == ["archives/set.zip", "archives/set.zip.json"]


def test_a_disk_that_fills_up_keeps_what_came(
    server: Server, home: Path, known: dict[str, Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    add(known, server.put("/a", File(DATA)))

    def full(chunks: Iterator[bytes], *_: object) -> Iterator[bytes]:
        yield next(chunks)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(resume, "progress_in_bytes", full)
    fail("small", "No space left on device", "goes on from there", "  1. Open  ")
    assert downloads.status("small").fetched == resume.CHUNK


def test_a_folder_that_cannot_be_written_is_told_and_nothing_is_promised(
    server: Server, tmp_path: Path, known: dict[str, Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TUTORIALS_DATA", str(tmp_path / "file" / "home"))
    add(known, server.put("/a", File(DATA)))
    text = fail("small", "small in ", "cannot be written (Not a directory)",
                "set the environment variable TUTORIALS_DATA", "Nothing was fetched.")  # fmt: skip
    assert "kept" not in text


# -- a part of the set ---------------------------------------------------------------------


def test_a_part_of_a_set_is_not_taken_for_the_whole(
    server: Server, home: Path, tmp_path: Path, known: dict[str, Release]
) -> None:
    archive = write_zip(tmp_path / "set.zip", cells(tmp_path))
    address = server.put("/set", File(archive.read_bytes()))
    add(known, address, checksum=None, file_name="set.zip", name="malaria", counts={"images": 100})
    here = f"{2 * len(PATIENTS)} of 100 images"
    text = fail("malaria", f"is a part of it, or another release: {here}. To", "By hand:")
    assert f"call  {command('data download malaria')}  (it replaces {home / 'malaria'})" in text
    state = downloads.status("malaria")
    assert (state.complete, state.problem) == (False, here)
    # a notebook gets it by its folder only, not by its name
    with pytest.raises(FileNotFoundError, match=f"{here}.*give that folder as data_dir"):
        downloads.find("malaria")
    assert downloads.find(state.folder) == home / "malaria"
    # nothing binds the next call to that archive
    assert entries(home / "archives") == []
    add(known, address, checksum=None, file_name="set.zip", name="malaria", counts={"images": 2})
    assert downloads.status("malaria").problem == f"{2 * len(PATIENTS)} images instead of 2"


def test_an_address_that_gave_a_part_is_asked_last(
    server: Server, tmp_path: Path, known: dict[str, Release]
) -> None:
    whole = cells(tmp_path)
    part = {path: data for path, data in whole.items() if PATIENTS[0] not in path}
    addresses = [
        server.put(f"/{number}", File(write_zip(tmp_path / "set.zip", content).read_bytes()))
        for number, content in enumerate((part, whole))
    ]
    add(known, *addresses, checksum=None, file_name="set.zip")
    fail("small", f"{len(part)} of {len(whole)} images")
    said: list[str] = []
    downloads.download("small", say=said.append)
    assert f"Not all of small is here: {len(part)} of {len(whole)} images." in said[0]
    assert [request.path for request in server.requests] == ["/0", "/1"]
    assert downloads.status("small").complete


def test_a_part_that_was_saved_by_hand_stays_and_is_named(
    server: Server, home: Path, tmp_path: Path, known: dict[str, Release]
) -> None:
    add(known, checksum=None, file_name="set.zip", counts={"images": 100})
    (home / "archives").mkdir(parents=True)
    archive = write_zip(home / "archives" / "set.zip", cells(tmp_path))
    fail("small", "of 100 images. To fetch it again, "
                  f"remove {archive}, which would be used again, and call")  # fmt: skip
    assert archive.exists()


def test_a_published_checksum_says_more_than_the_number_of_images(
    server: Server, tmp_path: Path, known: dict[str, Release]
) -> None:
    data = write_zip(tmp_path / "set.zip", cells(tmp_path)).read_bytes()
    add(known, server.put("/set", File(data)), counts={"images": 100}, file_name="set.zip",
        checksum=f"sha256:{hashlib.sha256(data).hexdigest()}")  # fmt: skip
    downloads.download("small")
    assert downloads.status("small").complete


def test_a_part_from_kaggle_is_noticed_and_fetched_anew(
    server: Server, tmp_path: Path, kaggle: types.ModuleType, known: dict[str, Release]
) -> None:
    add(known, file_name="archive.zip", checksum=SHA256, kaggle="somebody/cells",
        counts={"images": 2 * len(PATIENTS) + 2})  # fmt: skip
    fail("small", f"{2 * len(PATIENTS)} of {2 * len(PATIENTS) + 2} images", "another release")
    ask, forced = kaggle.dataset_download, []

    def whole(handle: str, *, force_download: bool = False) -> str:
        forced.append(force_download)
        cache = Path(ask(handle))
        for picture in list(cache.rglob("*.png"))[:2]:
            (picture.parent / f"{picture.stem}0.png").write_bytes(picture.read_bytes())
        return str(cache)

    kaggle.dataset_download = whole  # type: ignore[attr-defined]
    downloads.download("small")
    assert forced == [True]  # Kaggle's program would give what it has kept of the part
    assert downloads.status("small").complete


def test_images_that_have_gone_are_noticed_and_fetched_again(
    server: Server, tmp_path: Path, known: dict[str, Release]
) -> None:
    add_cells(known, server, tmp_path)
    folder = downloads.download("small")
    pictures = sorted((folder / "cell_images" / "Parasitized").iterdir())
    for picture in pictures:
        picture.unlink()
    (folder / "cell_images" / "Parasitized" / ".DS_Store").touch()
    (folder / "cell_images" / "notes.txt").touch()
    many = 2 * len(PATIENTS)
    gone = f"{many // 2} of {many} files have gone, from cell_images/Parasitized"
    assert downloads.status("small").problem == gone
    said: list[str] = []
    downloads.download("small", say=said.append)
    assert f"Not all of small is here: {gone}. It is fetched again" in said[0]
    assert sorted((folder / "cell_images" / "Parasitized").iterdir()) == pictures
    assert downloads.status("small").complete


def test_several_folders_without_their_files_are_counted(
    server: Server, tmp_path: Path, known: dict[str, Release]
) -> None:
    add_cells(known, server, tmp_path)
    folder = downloads.download("small")
    for kind in ("Parasitized", "Uninfected"):
        next((folder / "cell_images" / kind).iterdir()).unlink()
    problem = downloads.status("small").problem
    assert problem.startswith("2 of ")
    assert problem.endswith("from cell_images/Parasitized and 1 more")


def test_an_older_record_counts_no_files(
    server: Server, tmp_path: Path, known: dict[str, Release]
) -> None:
    add_cells(known, server, tmp_path)
    path = downloads.download("small") / downloads.RECORD
    record = json.loads(path.read_text("utf-8"))
    del record["images"], record["folders"]
    path.write_text(json.dumps(record), encoding="utf-8")
    assert downloads.status("small").complete


# -- folders -------------------------------------------------------------------------------


def test_a_folder_of_somebody_else_is_not_replaced(
    server: Server, home: Path, known: dict[str, Release]
) -> None:
    add(known, server.put("/a", File(DATA)))
    (home / "small").mkdir(parents=True)
    (home / "small" / "mine.png").touch()
    fail("small", "was not made by this command")
    assert server.requests == []
    assert entries(home) == ["small/mine.png"]


def test_an_older_release_is_replaced(
    server: Server, home: Path, known: dict[str, Release]
) -> None:
    older = DATA + b"older"
    address = server.put("/a", File(older))
    add(known, address, checksum=f"sha256:{hashlib.sha256(older).hexdigest()}")
    downloads.download("small")
    server.put("/a", File(DATA, etag='"two"'))
    add(known, address)  # the registry knows a newer one now
    assert not downloads.status("small").complete
    assert (downloads.download("small") / NAME).read_bytes() == DATA


@pytest.mark.parametrize(
    "record",
    [
        "",
        "[]",
        "{}",
        '{"format": 1, "release": "small"}',
        '{"format": 1, "release": "small", "files": 3, "entries": []}',
        '{"format": 1, "release": "small", "files": [3], "entries": []}',
        '{"format": 1, "release": "small", "files": [], "entries": []}',
        '{"format": 1, "release": "small", "files": [FILE], "entries": [3]}',
        '{"format": 1, "release": "small", "files": [FILE], "entries": [], "images": "many"}',
        '{"format": 1, "release": "small", "files": [FILE], "entries": [], "folders": {".": ""}}',
    ],
)
def test_a_broken_record_is_no_complete_dataset(
    server: Server, home: Path, known: dict[str, Release], record: str
) -> None:
    add(known, server.put("/a", File(DATA)))
    folder = downloads.download("small")
    file = json.dumps({"file": NAME, "source": "", "checksum": SHA256})
    (folder / downloads.RECORD).write_text(record.replace("FILE", file), encoding="utf-8")
    assert downloads.status("small") == downloads.Status(folder, False, 0)
    downloads.download("small")
    assert downloads.status("small").complete


def test_a_folder_that_was_taken_out_is_noticed(
    server: Server, tmp_path: Path, known: dict[str, Release]
) -> None:
    add_cells(known, server, tmp_path)
    folder = downloads.download("small")
    (folder / "cell_images").rename(tmp_path / "elsewhere")
    assert downloads.status("small").problem == "cell_images has gone"


def test_another_process_is_not_disturbed(
    server: Server, home: Path, known: dict[str, Release]
) -> None:
    address = server.put("/a", File(DATA))
    add(known, address)
    part = fetch._part(known["small"].files[0], home / "archives", address)
    part.parent.mkdir(parents=True)
    with resume._alone_with(part):
        fail("small", "Another process is fetching")


def test_what_a_killed_process_left_is_removed(
    server: Server, home: Path, known: dict[str, Release]
) -> None:
    add(known, server.put("/a", File(DATA)))
    for name in (".small-k3_x9f0a", ".small-old-ab12cd34", ".smaller-k3_x9f0a"):
        (home / name / "cell_images").mkdir(parents=True)
    with claim.alone(home / ".small.claim"):  # a process that lives keeps what is its own
        text = fail("small", "Another process is fetching small: ", "wait, or stop that one")
        assert "By hand" not in text
        assert (home / ".small-k3_x9f0a").exists()
    downloads.download("small")
    assert sorted(path.name for path in home.iterdir()) == [
        ".smaller-k3_x9f0a",
        "archives",
        "small",
    ]


def test_a_download_that_is_killed_while_it_unpacks_leaves_nothing_for_ever(
    server: Server, home: Path, tmp_path: Path, known: dict[str, Release]
) -> None:
    add_cells(known, server, tmp_path)
    release = known["small"]
    code = (
        "import os, signal\n"
        "from helpers import archives, downloads, registry\n"
        "from helpers.registry import Download, Release\n"
        f"release = {release!r}\n"
        "malaria = registry.get('malaria')\n"
        "registry.releases = lambda: {'small': malaria}\n"
        "registry.release = lambda name: release\n"
        "archives.progress = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "downloads.download('small')\n"
    )
    killed = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent.parent)
    assert killed.returncode == -signal.SIGKILL
    assert [path.name for path in home.glob(".small-*")]
    downloads.download("small")
    assert sorted(path.name for path in home.iterdir()) == ["archives", "small"]


# -- finding -------------------------------------------------------------------------------


def test_a_notebook_finds_a_downloaded_dataset_by_its_name(
    server: Server,
    home: Path,
    tmp_path: Path,
    known: dict[str, Release],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add_cells(known, server, tmp_path, name="malaria")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=f"Call  {command('data download malaria')}"):
        downloads.find("malaria")
    downloads.download("malaria")
    assert downloads.find("malaria") == home / "malaria"
    index = load_index("malaria", "malaria")
    assert len(index) == 2 * len(PATIENTS)
    assert index.attrs["root"] == str(home / "malaria")
    assert not index.attrs["synthetic"]
    # a folder of that name where the person stands is meant first
    (tmp_path / "malaria").mkdir()
    assert downloads.find("malaria") == tmp_path / "malaria"


def test_a_path_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert downloads.find("nowhere") == tmp_path / "nowhere"
    assert downloads.find("./malaria") == tmp_path / "malaria"
    assert downloads.find("some/malaria") == tmp_path / "some" / "malaria"
    assert downloads.find(tmp_path / "malaria") == tmp_path / "malaria"
    assert downloads.find("~/cells") == tmp_path / "me" / "cells"


# -- Kaggle --------------------------------------------------------------------------------


@pytest.fixture
def kaggle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: dict[str, Release]
) -> types.ModuleType:
    """Stands for Kaggle's program, which unpacks into a cache of its own."""
    program = types.ModuleType("kagglehub")
    asked: list[str] = []

    def dataset_download(handle: str) -> str:
        asked.append(handle)
        cache = tmp_path / "kaggle" / "versions" / "2"
        draw_cells(cache, each=1)
        if not (cache / "way").is_symlink():
            (cache / "way").symlink_to(tmp_path)
        return str(cache)

    program.dataset_download = dataset_download  # type: ignore[attr-defined]
    program.asked = asked  # type: ignore[attr-defined]
    program.__spec__ = types.SimpleNamespace()  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, "kagglehub", program)
    add(known, file_name="archive.zip", checksum=None, kaggle="somebody/cells")
    return program


def test_kaggles_program_fetches_what_only_kaggle_has(
    server: Server, home: Path, kaggle: types.ModuleType
) -> None:
    folder = downloads.download("small")
    assert kaggle.asked == ["somebody/cells"]
    assert len([path for path in entries(folder) if path.endswith(".png")]) == 2 * len(PATIENTS)
    assert not (folder / "way").exists()  # links are not followed
    assert downloads.status("small").complete
    assert downloads.download("small") == folder
    assert len(kaggle.asked) == 1


def test_kaggle_is_asked_last(
    server: Server, known: dict[str, Release], kaggle: types.ModuleType
) -> None:
    add(known, server.put("/a", File(DATA)), kaggle="somebody/cells")
    downloads.download("small")
    assert kaggle.asked == []
    gone = server.put("/b", File(statuses=[404]))
    add(known, gone, file_name="b.zip", name="other", kaggle="somebody/cells")
    downloads.download("other")
    assert kaggle.asked == ["somebody/cells"]


def test_without_kaggles_program_one_message_has_it_all(
    server: Server, known: dict[str, Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads.importlib.util, "find_spec", lambda _: None)
    add(known, file_name="archive.zip", checksum=None, kaggle="somebody/cells")
    fail(
        "small",
        "pip install '.[kaggle]'",
        "1. Open  https://www.kaggle.com/datasets/somebody/cells  in a browser",
        "archives/archive.zip",
        f"2. Call  {command('data download small')}",
    )


def test_what_kaggle_answers_is_passed_on(
    server: Server, home: Path, kaggle: types.ModuleType
) -> None:
    def dataset_download(handle: str) -> str:
        raise RuntimeError("403 Client Error: you must accept the terms")

    kaggle.dataset_download = dataset_download  # type: ignore[attr-defined]
    fail("small", "you must accept the terms", "1. Open  https://www.kaggle.com/datasets/")
    assert entries(home) == []


def test_an_archive_from_kaggle_saved_by_hand_is_used(
    server: Server, home: Path, tmp_path: Path, kaggle: types.ModuleType
) -> None:
    (home / "archives").mkdir(parents=True)
    write_zip(home / "archives" / "archive.zip", cells(tmp_path))
    downloads.download("small")
    assert kaggle.asked == []
    assert downloads.status("small").complete


# -- what the registry says ----------------------------------------------------------------


def test_the_five_datasets_and_two_small_ones_can_be_fetched() -> None:
    known = registry.releases()
    assert list(known)[:5] == ["breast_cancer", "brain_mri", "malaria", "oct", "pneumonia"]
    small = {f"{name}mnist{size}" for name in ("oct", "pneumonia") for size in ("", "_64", "_128",
             "_224")}  # fmt: skip
    assert set(known) == set(registry.names()) | {"oct_v3"} | small
    assert len({registry.release(name).files[0].file_name for name in known}) == len(known)


def test_an_unknown_release_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="Did you mean 'pneumoniamnist"):
        downloads.download("pneumonia_mnist")


@pytest.mark.parametrize("name", list(registry.releases()))
def test_what_is_to_be_fetched_is_written_down_well(name: str) -> None:
    release = registry.release(name)
    assert release.files
    assert release.tree
    assert release.kaggle or all(file.addresses for file in release.files)
    digits = {"sha256": 64, "md5": 32}
    for file in release.files:
        assert "/" not in file.file_name
        assert all(address.startswith(("https://", "http://")) for address in file.addresses)
        assert not file.addresses or file.addresses[0].startswith("https://")
        if file.checksum:
            algorithm, _, value = file.checksum.partition(":")
            assert len(value) == digits[algorithm]
            int(value, 16)


@pytest.mark.parametrize("name", ["breast_cancer", "brain_mri", "malaria", "oct", "oct_v3",
                                  "pneumonia"])  # fmt: skip
def test_a_folder_like_the_tree_is_read(name: str, tmp_path: Path) -> None:
    from helpers import layouts

    dataset, release = registry.releases()[name], registry.release(name)
    for path in release.tree:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    found = layouts.find_images(tmp_path, dataset)
    names = _images_of(release.tree)
    assert sorted(Path(str(row["path"])).name for row in found.rows) == sorted(names)
    assert all(row["patient"] for row in found.rows)
    assert found.left_out == []


def _images_of(tree: Sequence[str]) -> list[str]:
    """Return the names of the images in a tree, without masks and tables."""
    return [Path(path).name for path in tree if not path.endswith((".csv", "_mask.tif"))]


def test_sizes_are_added_up() -> None:
    release = registry.release("malaria")
    assert release.expected_size == 353_452_851
    several = replace(release, files=(Download("a", (), size=5), Download("b", (), megabytes=2)))
    assert several.expected_size == 2_000_005
