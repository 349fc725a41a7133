"""Archives of strangers: honest ones come out whole, malicious and damaged ones not at all."""

from __future__ import annotations

import gzip
import io
import random
import stat
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from helpers import archives
from helpers.archives import ArchiveError, Limits

CONTENT = {"cells/a.png": b"first", "cells/deeper/b.png": b"second" * 100, "list.csv": b"x,y\n"}


def write_zip(path: Path, content: Mapping[str, bytes] = CONTENT) -> Path:
    """Write a zip file."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def write_tar(path: Path, content: Mapping[str, bytes] = CONTENT) -> Path:
    """Write a compressed tar file."""
    with tarfile.open(path, "w:gz") as archive:
        for name, data in content.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


def write(path: Path, content: Mapping[str, bytes]) -> Path:
    """Write an archive of the kind that its name says."""
    return write_zip(path, content) if path.suffix == ".zip" else write_tar(path, content)


def files(folder: Path) -> dict[str, bytes]:
    """Return the files below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder, inside another one that a climbing path would reach."""
    folder = tmp_path / "outer" / "folder"
    folder.mkdir(parents=True)
    return folder


def refused(archive: Path, folder: Path, message: str, limits: Limits = archives.LIMITS) -> None:
    """Check that an archive is refused in words, and that nothing lies outside the folder."""
    around = _outside(folder)
    with pytest.raises(ArchiveError, match=message) as caught:
        archives.unpack(archive, folder, limits)
    assert str(archive) in str(caught.value)
    assert _outside(folder) == around
    assert not any(path.is_symlink() for path in folder.rglob("*"))


def _outside(folder: Path) -> set[Path]:
    """Return what lies where a climbing or an absolute path could have written."""
    places = (
        *folder.parent.parent.iterdir(),
        *folder.parent.iterdir(),
        *Path("/tmp").glob("evil*"),
    )
    return set(places)


@pytest.mark.parametrize("name", ["set.zip", "set.tar.gz", "set.tgz"])
def test_an_honest_archive_comes_out_whole(tmp_path: Path, folder: Path, name: str) -> None:
    assert archives.is_archive(name)
    archive = write(tmp_path / name, CONTENT)
    assert archives.unpack(archive, folder) == 3
    assert files(folder) == CONTENT


def test_what_counts_as_an_archive() -> None:
    assert archives.is_archive("BreaKHis_v1.tar.gz")
    assert archives.is_archive("ARCHIVE.ZIP")
    assert not archives.is_archive("pneumoniamnist.npz")
    assert not archives.is_archive("patients.csv")


@pytest.mark.parametrize("name", ["set.zip", "set.tar.gz"])
def test_what_macos_adds_is_skipped(tmp_path: Path, folder: Path, name: str) -> None:
    extra = {"__MACOSX/cells/._a.png": b"x", "cells/._a.png": b"x", "cells/a._b.png": b"kept"}
    assert archives.unpack(write(tmp_path / name, CONTENT | extra), folder) == 4
    assert files(folder) == CONTENT | {"cells/a._b.png": b"kept"}


@pytest.mark.parametrize("archive", ["set.zip", "set.tar.gz"])
@pytest.mark.parametrize(
    "name",
    [
        "../evil.txt",
        "cells/../../evil.txt",
        "cells/..",
        "/tmp/evil.txt",
        "//evil.txt",
        "..\\evil.txt",
        "\\evil.txt",
        "C:\\evil.txt",
        "C:evil.txt",
    ],
)
def test_a_path_out_of_the_folder_is_refused(
    tmp_path: Path, folder: Path, archive: str, name: str
) -> None:
    refused(write(tmp_path / archive, {name: b"evil"}), folder, "outside of the folder")


def test_dots_that_stay_inside_are_no_offence(tmp_path: Path, folder: Path) -> None:
    content = {"./cells/a.png": b"1", "cells/..b.png": b"2", "OCT2017 /c..png": b"3"}
    archives.unpack(write_tar(tmp_path / "set.tar.gz", content), folder)
    assert files(folder) == {"cells/a.png": b"1", "cells/..b.png": b"2", "OCT2017 /c..png": b"3"}


def test_backslashes_separate_folders(tmp_path: Path, folder: Path) -> None:
    archives.unpack(write_zip(tmp_path / "set.zip", {"cells\\deep\\a.png": b"1"}), folder)
    assert files(folder) == {"cells/deep/a.png": b"1"}


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE],
    ids=["symbolic link", "hard link", "character device", "block device", "pipe"],
)
@pytest.mark.parametrize("target", ["../../outer", "/etc/passwd", "cells/a.png"])
def test_a_tar_with_links_or_devices_is_refused(
    tmp_path: Path, folder: Path, kind: bytes, target: str
) -> None:
    archive = tmp_path / "set.tar.gz"
    with tarfile.open(archive, "w:gz") as opened:
        link = tarfile.TarInfo("way")
        link.type, link.linkname = kind, target
        opened.addfile(link)
        through = tarfile.TarInfo("way/evil.txt")
        through.size = 4
        opened.addfile(through, io.BytesIO(b"evil"))
    refused(archive, folder, "'way' is a link or a device")
    assert files(folder) == {}


def test_a_zip_with_a_link_is_refused(tmp_path: Path, folder: Path) -> None:
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        link = zipfile.ZipInfo("way")
        link.create_system = 3  # Unix
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        opened.writestr(link, "../../outer")
        opened.writestr("way/evil.txt", "evil")
    refused(archive, folder, "'way' is a link or a device")
    assert files(folder) == {}


@pytest.mark.parametrize("name", ["set.zip", "set.tar.gz"])
def test_a_bomb_is_refused_before_it_is_written(tmp_path: Path, folder: Path, name: str) -> None:
    bomb = write(tmp_path / name, {"a.png": b"small", "zeros.png": bytes(5_000_000)})
    assert bomb.stat().st_size < 20_000
    refused(bomb, folder, "as only a bomb's do", Limits(harmless=1_000_000))
    assert files(folder) == {"a.png": b"small"}
    # what is small hurts nobody, whatever its ratio
    assert archives.unpack(bomb, folder, Limits(harmless=10_000_000)) == 2


@pytest.mark.parametrize("name", ["set.zip", "set.tar.gz"])
def test_too_much_and_too_many_are_refused(tmp_path: Path, folder: Path, name: str) -> None:
    archive = write(tmp_path / name, {f"{number}.png": b"12345" for number in range(10)})
    refused(archive, folder, "more than 9 files", Limits(files=9))
    refused(archive, folder, "more than 0 GB", Limits(size=49))
    assert archives.unpack(archive, folder, Limits(files=10, size=50)) == 10


def test_the_limits_have_room_for_every_dataset() -> None:
    assert archives.LIMITS.files > 2 * 109_309  # Kaggle's copies hold the images twice
    assert archives.LIMITS.size > 4 * 8_400_000_000


def test_a_header_that_says_it_has_gigabytes_is_not_read(tmp_path: Path, folder: Path) -> None:
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 3 * 2**30
    with gzip.open(tmp_path / "set.tar.gz", "wb") as file:
        file.write(header.tobuf(tarfile.GNU_FORMAT) + bytes(2**20))
    refused(tmp_path / "set.tar.gz", folder, "larger than any name")


def test_a_zip_that_lies_about_a_size_writes_no_more_than_it_says(
    tmp_path: Path, folder: Path
) -> None:
    archive = write_zip(tmp_path / "set.zip", {"zeros.png": bytes(3_000_000)})
    true, false = (3_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little")
    assert archive.read_bytes().count(true) == 2  # in the file's header and in the directory
    archive.write_bytes(archive.read_bytes().replace(true, false))
    refused(archive, folder, "damaged")
    assert (folder / "zeros.png").stat().st_size <= 10


def test_names_in_other_alphabets_can_be_written(tmp_path: Path, folder: Path) -> None:
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("αβ.png", b"marked as UTF-8")
        opened.writestr("XXXXXX.png", b"UTF-8, not marked")
        opened.writestr("YYYY.png", b"Chinese, not marked")
    raw = archive.read_bytes()
    raw = raw.replace(b"XXXXXX", "细胞".encode()).replace(b"YYYY", "细胞".encode("gbk"))
    archive.write_bytes(raw)
    assert archives.unpack(archive, folder) == 3
    found = files(folder)
    assert found["αβ.png"] == b"marked as UTF-8"
    assert found["细胞.png"] == b"UTF-8, not marked"
    assert b"Chinese, not marked" in found.values()
    for name in found:
        name.encode("utf-8")  # can be printed


def test_a_tar_with_names_in_no_known_alphabet_can_be_unpacked(
    tmp_path: Path, folder: Path
) -> None:
    archive = tmp_path / "set.tar.gz"
    with tarfile.open(archive, "w:gz", format=tarfile.GNU_FORMAT, encoding="latin-1") as opened:
        entry = tarfile.TarInfo("Größe.png")
        entry.size = 4
        opened.addfile(entry, io.BytesIO(b"data"))
    assert archives.unpack(archive, folder) == 1
    (name,) = files(folder)
    assert name.startswith("Gr")
    name.encode("utf-8")


@pytest.mark.parametrize("name", ["set.zip", "set.tar.gz"])
def test_a_damaged_archive_is_refused(tmp_path: Path, folder: Path, name: str) -> None:
    whole = write(tmp_path / name, CONTENT | {"noise.png": bytes(range(256)) * 4_000})
    raw = whole.read_bytes()
    cut = tmp_path / f"cut-{name}"
    cut.write_bytes(raw[: len(raw) * 2 // 3])
    refused(cut, folder, "damaged, or no archive of that kind")
    page = tmp_path / f"page-{name}"
    page.write_text("<!doctype html><title>Are you a robot?</title>")
    refused(page, folder, "damaged, or no archive of that kind")


@pytest.mark.parametrize("name", ["set.zip", "set.tar.gz"])
def test_whatever_is_wrong_with_the_bytes_it_is_an_archive_error(
    tmp_path: Path, folder: Path, name: str
) -> None:
    raw = write(tmp_path / name, CONTENT).read_bytes()
    tar = gzip.decompress(raw) if name == "set.tar.gz" else b""
    chance = random.Random(0)
    refusals = 0
    for number in range(150):
        broken = bytearray(tar if tar and number % 2 else raw)
        for _ in range(chance.choice((1, 3))):
            broken[chance.randrange(min(len(broken), 2_000))] = chance.randrange(256)
        data = gzip.compress(broken, 1) if tar and number % 2 else bytes(broken)
        (tmp_path / name).write_bytes(data)
        try:
            archives.unpacked_size(tmp_path / name)
            archives.unpack(tmp_path / name, folder)
        except ArchiveError:
            refusals += 1
        assert _outside(folder) == {folder, folder.parent, tmp_path / name}
    assert refusals > 40


def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path, folder: Path) -> None:
    refused(write_zip(tmp_path / "set.zip", {"a" * 300: b"x"}), folder, "too long")


def test_a_flipped_byte_is_noticed(tmp_path: Path, folder: Path) -> None:
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as opened:
        opened.writestr("a.png", b"honest pixels")
    archive.write_bytes(archive.read_bytes().replace(b"honest", b"hOnest"))
    refused(archive, folder, "CRC")


def test_a_password_is_not_guessed(tmp_path: Path, folder: Path) -> None:
    archive = write_zip(tmp_path / "set.zip", {"a.png": b"x"})
    raw = bytearray(archive.read_bytes())
    raw[raw.index(b"PK\x01\x02") + 8] |= 1  # the directory's flag for encryption
    archive.write_bytes(raw)
    refused(archive, folder, "password")


@pytest.mark.parametrize("name", ["set.zip", "set.tar.gz"])
def test_a_file_where_a_folder_should_be_is_refused(
    tmp_path: Path, folder: Path, name: str
) -> None:
    archive = write(tmp_path / name, {"cells": b"a file", "cells/a.png": b"x"})
    refused(archive, folder, "a file and a folder in it have the same name")


def test_a_full_disk_is_not_called_a_damaged_archive(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archives.shutil, "copyfileobj", full)
    with pytest.raises(OSError, match="No space left"):
        archives.unpack(write_zip(tmp_path / "set.zip"), folder)


def test_the_size_of_a_zip_is_known_before(tmp_path: Path) -> None:
    size = sum(map(len, CONTENT.values()))
    assert archives.unpacked_size(write_zip(tmp_path / "set.zip")) == size
    assert archives.unpacked_size(write_tar(tmp_path / "set.tar.gz")) is None
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"PK, and then nothing")
    with pytest.raises(ArchiveError, match="damaged"):
        archives.unpacked_size(broken)
