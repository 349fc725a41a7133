"""Image files of every kind, good and bad; the cache: whole, once, or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
import time
import warnings
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers import images
from helpers.images import (
    UnreadableImageError,
    build_cache,
    measure_masks,
    read_image,
    read_mask,
    read_original,
)

RED, GREEN, BLUE = (220, 30, 30), (30, 200, 40), (20, 40, 210)


@pytest.fixture
def data_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder that is the data home of one test."""
    monkeypatch.setenv("TUTORIALS_DATA", str(tmp_path / "home"))
    return tmp_path / "home"


def save(path: Path, pixels: np.ndarray, mode: str | None = None, **options: Any) -> Path:
    """Write pixels as an image file."""
    picture = Image.fromarray(pixels)
    (picture.convert(mode) if mode else picture).save(path, **options)
    return path


def halves(left: Any = RED, right: Any = BLUE, height: int = 16, width: int = 16) -> np.ndarray:
    """Return a picture whose left half has one colour and whose right half has another."""
    picture = np.empty((height, width, 3), np.uint8)
    picture[:, : width // 2], picture[:, width // 2 :] = left, right
    return picture


def reason(path: Path) -> str:
    """Return why a file cannot be read."""
    with pytest.raises(UnreadableImageError) as caught:
        read_image(path, 16)
    assert str(path) not in str(caught.value)  # the list of what was left out names the file
    return str(caught.value)


# -- what can be read ----------------------------------------------------------------------


def test_a_png_of_the_right_size_comes_back_unchanged(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    found = read_image(save(tmp_path / "a.png", pixels), 16)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, pixels)


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    found = read_image(save(tmp_path / "a.png", grey), 16)
    np.testing.assert_array_equal(found, np.repeat(grey[..., None], 3, axis=2))


def test_sixteen_bits_keep_their_range(tmp_path: Path) -> None:
    grey = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    found = read_image(save(tmp_path / "a.png", grey), 16)[..., 0]
    # Pillow's own conversion would cut off everything above 255 and show white.
    np.testing.assert_array_equal(found, np.rint(grey / 257.0).astype(np.uint8))
    assert (found.min(), found.max()) == (0, 255)


def test_sixteen_bits_that_use_only_eight_are_not_darkened(tmp_path: Path) -> None:
    grey = np.arange(256, dtype=np.uint16).reshape(16, 16)
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.png", grey), 16)[..., 0], grey)


@pytest.mark.parametrize("top", [1.0, 255.0])
def test_floating_point_images_are_scaled_to_eight_bits(tmp_path: Path, top: float) -> None:
    grey = np.linspace(0, top, 256, dtype=np.float32).reshape(16, 16)
    found = read_image(save(tmp_path / "a.tif", grey), 16)[..., 0]
    np.testing.assert_array_equal(found, np.arange(256).reshape(16, 16))


def test_a_palette_is_resolved(tmp_path: Path) -> None:
    found = read_image(save(tmp_path / "a.png", halves(), "P"), 16)
    assert Image.open(tmp_path / "a.png").mode == "P"
    with Image.open(tmp_path / "a.png") as picture:
        np.testing.assert_array_equal(found, np.asarray(picture.convert("RGB")))
    # the web palette that Pillow chose is coarse, but red stays red and blue blue
    assert found[8, 2].argmax() == 0
    assert found[8, 13].argmax() == 2


def test_a_transparent_palette_entry_lies_over_black(tmp_path: Path) -> None:
    picture = Image.fromarray(np.repeat([[0] * 8 + [1] * 8], 16, axis=0).astype(np.uint8), "P")
    picture.putpalette([*RED, *BLUE])
    picture.save(tmp_path / "a.png", transparency=1)
    found = read_image(tmp_path / "a.png", 16)
    np.testing.assert_array_equal(found, halves(RED, (0, 0, 0)))


def test_transparency_lies_over_black(tmp_path: Path) -> None:
    alpha = np.full((16, 16, 1), 255, np.uint8)
    alpha[:, 8:] = 0
    alpha[:8, :8] = 128
    found = read_image(save(tmp_path / "a.png", np.dstack([halves(), alpha])), 16)
    np.testing.assert_array_equal(found[8:, :8], np.broadcast_to(RED, (8, 8, 3)))
    np.testing.assert_array_equal(found[:, 8:], 0)
    np.testing.assert_allclose(found[:8, :8], np.array(RED) * (128 / 255) * np.ones((8, 8, 3)),
                               atol=1)  # fmt: skip


def test_grey_with_transparency_lies_over_black(tmp_path: Path) -> None:
    grey = np.full((16, 16, 2), 200, np.uint8)
    grey[..., 1] = np.repeat([[255] * 8 + [0] * 8], 16, axis=0)
    found = read_image(save(tmp_path / "a.png", grey), 16)
    np.testing.assert_array_equal(found, halves((200,) * 3, (0,) * 3))


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", halves(height=32, width=32), "CMYK", quality=95)
    assert Image.open(path).mode == "CMYK"
    found = read_image(path, 32).astype(int)
    np.testing.assert_allclose(found[16, 4], RED, atol=12)  # JPEG
    np.testing.assert_allclose(found[16, 28], BLUE, atol=12)


def test_of_an_animated_gif_the_first_frame_is_taken(tmp_path: Path) -> None:
    frames = [Image.fromarray(halves(colour, colour)) for colour in (RED, GREEN, BLUE)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert Image.open(tmp_path / "a.gif").n_frames == 3
    found = read_image(tmp_path / "a.gif", 16)
    np.testing.assert_allclose(found, np.broadcast_to(RED, (16, 16, 3)), atol=4)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_rotated_photograph_stands_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    upright = np.zeros((32, 32, 3), np.uint8)
    upright[:16, :16], upright[:16, 16:], upright[16:, :16] = RED, GREEN, BLUE
    # How each mark asks the viewer to move the stored picture (TIFF 6.0, tag 274), undone.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    marks = Image.Exif()
    marks[0x0112] = orientation
    options = {"quality": 95} if suffix == ".jpg" else {}
    path = save(tmp_path / f"a{suffix}", np.ascontiguousarray(stored), exif=marks, **options)
    found = read_image(path, 32).astype(int)
    for row, column, colour in ((8, 8, RED), (8, 24, GREEN), (24, 8, BLUE), (24, 24, (0, 0, 0))):
        np.testing.assert_allclose(found[row, column], colour, atol=12)


def test_a_large_jpeg_is_scaled_down_while_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "a.jpg", halves(height=1024, width=1024), quality=95)
    seen: list[tuple[int, int]] = []
    to_rgb = images._to_rgb
    monkeypatch.setattr(images, "_to_rgb", lambda image: seen.append(image.size) or to_rgb(image))
    found = read_image(path, 32).astype(int)
    assert seen == [(128, 128)]  # an eighth: the least the decoder can do, still twice 32
    np.testing.assert_allclose(found[16, 4], RED, atol=6)
    np.testing.assert_allclose(found[16, 28], BLUE, atol=6)


def test_an_original_keeps_its_size_and_every_pixel(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    np.testing.assert_array_equal(read_original(save(tmp_path / "a.png", noise)), noise)
    marks = Image.Exif()
    marks[0x0112] = 6  # stored lying on its side
    turned = read_original(save(tmp_path / "b.png", noise, exif=marks))
    np.testing.assert_array_equal(turned, np.rot90(noise, -1))


def test_an_original_jpeg_is_decoded_in_full(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", halves(height=600, width=1024), quality=95)
    with Image.open(path) as image:
        np.testing.assert_array_equal(read_original(path), np.asarray(image))
    path.write_bytes(path.read_bytes()[:2_000])
    with pytest.raises(UnreadableImageError, match="damaged or not an image"):
        read_original(path)


# -- shape ---------------------------------------------------------------------------------


def test_pad_keeps_the_shape_and_puts_black_beside_it(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.full((16, 32, 3), 200, np.uint8))
    found = read_image(path, 16, "pad")
    np.testing.assert_array_equal(found[4:12], 200)
    np.testing.assert_array_equal(found[:4], 0)
    np.testing.assert_array_equal(found[12:], 0)


def test_crop_keeps_the_shape_and_takes_the_middle(tmp_path: Path) -> None:
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:, 8:24] = halves(RED, GREEN)
    np.testing.assert_array_equal(
        read_image(save(tmp_path / "a.png", pixels), 16, "crop"), halves(RED, GREEN)
    )


def test_squash_takes_all_and_loses_the_shape(tmp_path: Path) -> None:
    found = read_image(save(tmp_path / "a.png", halves(height=16, width=64)), 16, "squash")
    # all but the four columns that the resampling mixes
    np.testing.assert_array_equal(found[:, :6], np.broadcast_to(RED, (16, 6, 3)))
    np.testing.assert_array_equal(found[:, 10:], np.broadcast_to(BLUE, (16, 6, 3)))


@pytest.mark.parametrize("fit", ["pad", "crop", "squash"])
def test_shrinking_averages_instead_of_dropping_pixels(tmp_path: Path, fit: str) -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    found = read_image(save(tmp_path / "a.png", stripes), 16, fit).astype(int)
    assert np.abs(found - 127.5).max() < 16  # without antialiasing: all black or all white


def test_an_unknown_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'stretch': choose 'pad', 'crop' or 'squash'"):
        read_image(save(tmp_path / "a.png", halves()), 16, "stretch")


# -- what cannot be read -------------------------------------------------------------------


def test_a_missing_file(tmp_path: Path) -> None:
    assert reason(tmp_path / "none.png") == "the file does not exist"


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    assert reason(tmp_path / "a.png") == "the file is empty (zero bytes)"


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".gif", ".bmp"])
def test_a_truncated_file(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(tmp_path / f"a{suffix}", noise)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert reason(path).startswith("damaged or not an image (")


def test_text_named_png(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no picture", encoding="ascii")
    assert reason(tmp_path / "a.png").startswith("damaged or not an image (")


def test_a_folder_named_png(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    assert reason(tmp_path / "a.png").startswith("damaged or not an image (")


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 500), (500, 7)])
def test_an_image_of_too_few_pixels(tmp_path: Path, width: int, height: int) -> None:
    path = save(tmp_path / "a.png", np.zeros((height, width, 3), np.uint8))
    assert reason(path) == f"{width}×{height} pixels: too small to show anything (at least 8)"


def test_the_smallest_image_that_is_accepted(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.full((8, 8, 3), 90, np.uint8))
    np.testing.assert_array_equal(read_image(path, 16), 90)


def test_our_own_limit_on_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "LARGEST", 400)
    assert read_image(save(tmp_path / "a.png", halves(height=20, width=20)), 16).shape[0] == 16
    path = save(tmp_path / "b.png", halves(height=20, width=22))
    assert reason(path) == "22×20 pixels: more than 400, a scan that was not meant or a bomb"


def test_a_decompression_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.png", halves(height=64, width=64))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000)  # Pillow refuses from twice this on
    assert reason(path) == "more than 100,000,000 pixels: a scan that was not meant, or a bomb"


def test_a_bomb_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 12,000 × 12,000: above our limit, below the one from which Pillow itself refuses.
    path = tmp_path / "a.png"
    Image.new("1", (12_000, 12_000)).save(path)
    assert path.stat().st_size < 100_000
    monkeypatch.setattr(images, "_to_rgb", lambda _: pytest.fail("it was decoded"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        assert "more than 100,000,000" in reason(path)


# -- the cache -----------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Return five pictures, each of one colour of its own."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    return [
        str(save(folder / f"{n}.png", np.full((16 + n, 16 + n, 3), 20 * n + 10, np.uint8)))
        for n in range(5)
    ]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gets the path of each file that is decoded."""
    seen: list[str] = []
    read = images._read

    def counting(path: str, image_size: int, fit: str) -> Any:
        seen.append(str(path))
        return read(path, image_size, fit)

    monkeypatch.setattr(images, "_read", counting)
    return seen


@pytest.mark.usefixtures("data_home")
def test_the_cache_holds_the_pictures_in_order(files: list[str]) -> None:
    cache = build_cache(files, 16)
    pixels = cache.open()
    assert pixels.shape == (5, 16, 16, 3)
    assert pixels.dtype == np.uint8
    assert isinstance(pixels, np.memmap)
    assert not pixels.flags.writeable
    np.testing.assert_array_equal(pixels[:, 8, 8, 0], [10, 30, 50, 70, 90])
    assert list(cache.table["row"]) == [0, 1, 2, 3, 4]
    assert list(cache.table["width"]) == [16, 17, 18, 19, 20]
    assert list(cache.table["height"]) == [16, 17, 18, 19, 20]
    assert (cache.table["reason"] == "").all()
    assert cache.table["content"].is_unique


@pytest.mark.usefixtures("data_home")
def test_equal_pictures_have_equal_content(files: list[str], tmp_path: Path) -> None:
    copy = shutil.copy(files[2], tmp_path / "copy.png")
    content = build_cache([*files, str(copy)], 16).table["content"]
    assert content[5] == content[2]
    assert content.nunique() == 5


def test_a_second_call_decodes_nothing(
    files: list[str],
    decoded: list[str],
    data_home: Path,
) -> None:
    first = build_cache(files, 16)
    assert decoded == files
    stamp = first.path.stat().st_mtime_ns
    second = build_cache(files, 16)
    assert decoded == files
    assert second.path == first.path
    assert second.path.stat().st_mtime_ns == stamp
    assert second.table.equals(first.table)
    assert second.path.is_relative_to(data_home / "cache")


@pytest.mark.usefixtures("data_home")
def test_damaged_files_are_reported_and_black(files: list[str], tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture", encoding="ascii")
    (tmp_path / "empty.png").touch()
    bad = [str(tmp_path / name) for name in ("text.png", "empty.png", "missing.png")]
    for _ in range(2):  # built, then read back
        cache = build_cache([files[0], *bad, files[1]], 16)
        assert list(cache.table["reason"] == "") == [True, False, False, False, True]
        assert cache.table["reason"][2] == "the file is empty (zero bytes)"
        assert list(cache.table["content"][1:4]) == ["", "", ""]
        assert not cache.open()[1:4].any()
        assert cache.open()[4, 8, 8, 0] == 30


@pytest.mark.usefixtures("data_home")
def test_a_changed_file_makes_a_new_cache(files: list[str], decoded: list[str]) -> None:
    first = build_cache(files, 16)
    # same size in bytes, another time: what an edit of one pixel leaves
    status = Path(files[3]).stat()
    os.utime(files[3], ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    second = build_cache(files, 16)
    assert second.path != first.path
    assert decoded == files * 2
    save(Path(files[3]), np.full((16, 16, 3), 250, np.uint8))
    assert build_cache(files, 16).open()[3, 8, 8, 0] == 250


@pytest.mark.usefixtures("data_home")
def test_size_fit_and_order_have_caches_of_their_own(files: list[str]) -> None:
    caches = {
        build_cache(files, 16).path,
        build_cache(files, 24).path,
        build_cache(files, 16, fit="squash").path,
        build_cache(files[::-1], 16).path,
        build_cache(files[:4], 16).path,
    }
    assert len(caches) == 5
    assert build_cache(files[::-1], 16).open()[0, 8, 8, 0] == 90


@pytest.mark.parametrize("damage", ["half", "empty", "gone", "table gone", "table half", "text"])
@pytest.mark.usefixtures("data_home")
def test_a_damaged_cache_is_rebuilt(files: list[str], decoded: list[str], damage: str) -> None:
    cache = build_cache(files, 16)
    table = cache.path.with_suffix(".csv")
    content, rows = cache.path.read_bytes(), table.read_bytes()
    if damage == "half":
        cache.path.write_bytes(content[: len(content) // 2])
    elif damage == "empty":
        cache.path.write_bytes(b"")
    elif damage == "gone":
        cache.path.unlink()
    elif damage == "table gone":
        table.unlink()
    elif damage == "table half":
        table.write_bytes(rows[: len(rows) // 2])
    else:
        cache.path.write_text("this was an array once", encoding="ascii")
    again = build_cache(files, 16)
    assert decoded == files * 2
    assert again.path.read_bytes() == content
    assert again.table.equals(cache.table)


def test_names_with_spaces_and_chinese_characters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUTORIALS_DATA", str(tmp_path / "数据 home"))
    folder = tmp_path / "疟疾 细胞"
    folder.mkdir()
    path = save(folder / "a picture «é» 图.png", np.full((16, 16, 3), 77, np.uint8))
    assert build_cache([str(path)], 16).open()[0, 0, 0, 0] == 77


@pytest.mark.usefixtures("data_home")
def test_no_files_no_cache() -> None:
    with pytest.raises(ValueError, match="no images to read"):
        build_cache([], 16)


def leftovers(home: Path) -> list[str]:
    """Return the files below a folder."""
    return sorted(path.name for path in home.rglob("*") if path.is_file())


def test_an_exception_half_way_leaves_nothing(
    files: list[str],
    data_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = images._read

    def interrupted(path: str, image_size: int, fit: str) -> Any:
        if path == files[3]:
            raise KeyboardInterrupt
        return read(path, image_size, fit)

    with monkeypatch.context() as patch:
        patch.setattr(images, "_read", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build_cache(files, 16)
        assert leftovers(data_home) == []
    assert len(build_cache(files, 16).table) == 5


def test_too_little_space_is_noticed_before_anything_is_written(
    files: list[str],
    data_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    decoded: list[str],
) -> None:
    usage = namedtuple("usage", "total used free")
    needed = 5 * 16 * 16 * 3
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, needed - 1))
    with pytest.raises(OSError, match="disk is full") as caught:
        build_cache(files, 16)
    assert caught.value.errno == errno.ENOSPC
    assert "TUTORIALS_DATA" in str(caught.value)
    assert str(data_home / "cache") in str(caught.value)
    assert "Make room" in str(caught.value)
    assert decoded == []
    assert leftovers(data_home) == []
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 0, needed))
    assert len(build_cache(files, 16).table) == 5


def test_a_quota_that_is_used_up_is_a_full_disk(
    files: list[str],
    data_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def used_up(*_: Any, **__: Any) -> Any:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr("helpers.paths.tempfile.mkstemp", used_up)
    with pytest.raises(OSError, match="your disk quota is used up") as caught:
        build_cache(files, 16)
    assert caught.value.errno == errno.EDQUOT
    assert "Make room, or set the environment variable TUTORIALS_DATA" in str(caught.value)
    assert leftovers(data_home) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_disk_that_fills_up_while_the_cache_is_written(
    files: list[str],
    data_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    open_path = Path.open

    def full(self: Path, mode: str = "r", *rest: Any, **options: Any) -> Any:
        # /dev/full takes nothing: every write to it fails as on a full disk, buffered or not
        target = Path("/dev/full") if mode == "wb" and data_home in self.parents else self
        return open_path(target, mode, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        with pytest.raises(OSError, match="disk is full") as caught:
            build_cache(files, 16)
    assert caught.value.errno == errno.ENOSPC
    assert "Nothing half-written was left" in str(caught.value)
    assert leftovers(data_home) == []
    assert len(build_cache(files, 16).table) == 5


def test_a_cache_folder_that_cannot_be_written(
    files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plain").write_text("a file, not a folder", encoding="ascii")
    monkeypatch.setenv("TUTORIALS_DATA", str(tmp_path / "plain"))
    with pytest.raises(OSError, match="cannot be written") as caught:
        build_cache(files, 16)
    assert "TUTORIALS_DATA" in str(caught.value)


def test_a_cache_folder_without_permission(
    files: list[str],
    data_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def forbidden(*_: Any, **__: Any) -> Any:  # root may write anywhere, so it is simulated
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("helpers.paths.tempfile.mkstemp", forbidden)
    with pytest.raises(OSError, match=r"cannot be written.*Permission denied") as caught:
        build_cache(files, 16)
    assert caught.value.errno == errno.EACCES
    assert "Allow writing there, or set" in str(caught.value)
    assert leftovers(data_home) == []


def test_two_threads_at_once_build_one_cache(files: list[str], data_home: Path) -> None:
    gate = threading.Barrier(4)
    caches: list[images.Cache] = []

    def build() -> None:
        gate.wait()
        caches.append(build_cache(files, 16))

    threads = [threading.Thread(target=build) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({cache.path for cache in caches}) == 1
    for cache in caches:
        np.testing.assert_array_equal(cache.open()[:, 8, 8, 0], [10, 30, 50, 70, 90])
    assert len(leftovers(data_home)) == 2  # pixels and table, nothing temporary


@pytest.mark.slow
def test_two_processes_at_once_build_one_cache(
    files: list[str],
    data_home: Path,
    checkout: Path,
) -> None:
    code = (
        "import sys; from helpers.images import build_cache; "
        "print(build_cache(sys.argv[1:], 16).open()[:, 8, 8, 0].tolist())"
    )
    command = [sys.executable, "-c", code, *files]
    runs = [
        subprocess.Popen(command, cwd=checkout, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    answers = [run.communicate(timeout=120)[0].strip() for run in runs]
    assert answers == ["[10, 30, 50, 70, 90]"] * 2
    assert len(leftovers(data_home)) == 2


@pytest.mark.usefixtures("data_home")
def test_few_images_are_in_memory_while_the_cache_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No image is decoded before those of the block before it are on their way to the disk."""
    block, many = 4, 22
    monkeypatch.setattr(images, "_BLOCK", block)
    files = [
        str(save(tmp_path / f"{n:02}.png", np.full((16, 16, 3), n, np.uint8))) for n in range(many)
    ]
    count = {"decoded": 0, "written": 0, "most": 0}
    read = images._read

    def reading(path: str, image_size: int, fit: str) -> Any:
        count["decoded"] += 1
        count["most"] = max(count["most"], count["decoded"] - count["written"])
        return read(path, image_size, fit)

    read_all = images._read_all

    def writing(*arguments: Any) -> Any:
        for item in read_all(*arguments):
            yield item  # the writer has it; when it asks for the next one it has been written
            count["written"] += 1

    monkeypatch.setattr(images, "_read", reading)
    monkeypatch.setattr(images, "_read_all", writing)
    cache = build_cache(files, 16)
    np.testing.assert_array_equal(cache.open()[:, 0, 0, 0], range(many))
    assert count["decoded"] == many
    assert count["most"] <= block + 1


# -- masks ---------------------------------------------------------------------------------


def mask_of(*spots: tuple[int, int, int, int], size: int = 64) -> np.ndarray:
    """Return a mask with rectangles (top, left, height, width) set to 255."""
    mask = np.zeros((size, size), np.uint8)
    for top, left, height, width in spots:
        mask[top : top + height, left : left + width] = 255
    return mask


@pytest.mark.parametrize("mode", [None, "1", "RGB", "P", "RGBA"])
@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_a_mask_in_any_mode(tmp_path: Path, mode: str | None, suffix: str) -> None:
    mask = mask_of((3, 5, 9, 7))
    found = read_mask(save(tmp_path / f"a{suffix}", mask, mode), 64)
    assert found.dtype == np.uint8
    assert found.shape == (64, 64, 1)
    np.testing.assert_array_equal(found[..., 0], mask > 0)


def test_a_mask_of_sixteen_bits(tmp_path: Path) -> None:
    mask = mask_of((3, 5, 9, 7)).astype(np.uint16) * 257
    np.testing.assert_array_equal(read_mask(save(tmp_path / "a.png", mask), 64)[..., 0], mask > 0)


def test_a_pixel_is_set_where_half_of_its_area_is(tmp_path: Path) -> None:
    # at a quarter of the size a pixel stands for 4 × 4: one with 8 of them set, one with 7
    mask = mask_of((8, 8, 2, 4), (32, 32, 1, 4), (33, 32, 1, 3))
    found = read_mask(save(tmp_path / "a.png", mask), 16)[..., 0]
    assert np.argwhere(found).tolist() == [[2, 2]]


@pytest.mark.parametrize("fit", ["pad", "crop", "squash"])
@pytest.mark.parametrize(("height", "width"), [(48, 64), (64, 48), (70, 70), (20, 30)])
def test_a_mask_moves_as_its_image_does(tmp_path: Path, fit: str, height: int, width: int) -> None:
    mask = np.zeros((height, width), np.uint8)
    mask[height // 4 : height // 2, width // 3 : width * 2 // 3] = 255
    image = read_image(save(tmp_path / "a.png", np.dstack([mask] * 3)), 32, fit)[..., 0] > 127
    found = read_mask(save(tmp_path / "b.png", mask), 32, fit)[..., 0] > 0
    assert (image ^ found).mean() < 0.02


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([0, 100, 255], "a mask of 3 values (0, 100, 255), where 0 and 255 are meant"),
        ([7, 255], "a mask of 2 values (7, 255), where 0 and 255 are meant"),
        ([255], "a mask of which every pixel is set (to 255)"),
    ],
)
def test_what_is_no_mask(tmp_path: Path, values: list[int], words: str) -> None:
    path = save(tmp_path / "a.png", np.resize(np.array(values, np.uint8), (16, 16)))
    with pytest.raises(UnreadableImageError) as caught:
        read_mask(path, 16)
    assert str(caught.value) == words


@pytest.mark.usefixtures("data_home")
def test_masks_have_a_cache_of_their_own(tmp_path: Path) -> None:
    spots = [(0, 0, 0, 0), (0, 0, 32, 64), (10, 10, 1, 1)]
    paths = [str(save(tmp_path / f"{n}.tif", mask_of(spot))) for n, spot in enumerate(spots)]
    (tmp_path / "empty.tif").touch()
    paths.append(str(tmp_path / "empty.tif"))
    cache = build_cache(paths, 32, kind="mask")
    assert cache.path != build_cache(paths, 32).path
    masks = cache.open()
    assert masks.shape == (4, 32, 32, 1)
    assert masks.dtype == np.uint8
    assert masks.max() == 1
    assert list(cache.table["mask_pixels"]) == [0, 32 * 64, 1, 0]
    assert list(cache.table["width"]) == [64, 64, 64, 0]
    assert list(cache.table["reason"] == "") == [True, True, True, False]
    # the one pixel has vanished at half the size, but it is counted
    assert masks.sum(axis=(1, 2, 3)).tolist() == [0, 16 * 32, 0, 0]
    bare = measure_masks(paths)
    assert list(bare["mask_pixels"]) == list(cache.table["mask_pixels"])
    assert list(bare["reason"]) == list(cache.table["reason"])


def test_a_jpeg_mask_that_is_not_clean_is_refused_with_the_reason(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noisy = np.where(rng.random((64, 64)) < 0.5, 255, 0).astype(np.uint8)
    with pytest.raises(UnreadableImageError, match=r"a mask of .* values"):
        read_mask(save(tmp_path / "a.jpg", noisy, quality=50), 64)


def test_of_two_who_want_a_cache_one_builds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUTORIALS_DATA", str(tmp_path / "home"))
    Image.new("RGB", (8, 8), "white").save(tmp_path / "one.png")
    original, built = images._write_cache, []

    def slowly(*arguments: Any) -> None:
        built.append(1)
        time.sleep(0.5)
        original(*arguments)

    monkeypatch.setattr(images, "_write_cache", slowly)
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: images.build_cache([str(tmp_path / "one.png")], 4), "abc"))
    assert built == [1]
    assert len({cache.path for cache in found}) == 1
    assert all(np.load(cache.path).max() == 255 for cache in found)
