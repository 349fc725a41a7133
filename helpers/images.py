"""Image files: any kind becomes RGB uint8 of one size, and is decoded only once.

``read_image``, ``read_original`` and ``read_mask`` read one file or say why they cannot.
``build_cache`` reads many, in parallel, into one file of plain bytes that is mapped into
memory afterwards: the second run, the second epoch and the second notebook decode nothing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from PIL import Image, ImageOps, UnidentifiedImageError

from helpers import packed
from helpers.paths import atomic_file, data_home, explained, require_space, turn
from helpers.progress import progress

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp"})
SMALLEST = 8  # pixels; anything smaller shows nothing a network or a reader could use
LARGEST = packed.LARGEST  # pixels, of files as of images inside archives

Kind = Literal["image", "mask"]
Source = str | os.PathLike[str] | np.ndarray
"""A file, the address of an image inside an npz archive, or the pixels of one."""

_CACHE_VERSION = 1
_BLOCK = 256  # images held in memory at a time while the cache is written
_CHANNELS: dict[Kind, int] = {"image": 3, "mask": 1}


class UnreadableImageError(ValueError):
    """An image file cannot be used; the message is the reason, without the path."""


@dataclass(frozen=True)
class Cache:
    """Images of one size on disk, and what was learnt while they were read.

    Attributes:
        path: the ``.npy`` file of uint8 (n, image_size, image_size, 3), 0–255; of masks
            (n, image_size, image_size, 1), 0 or 1.
        table: one row a file, in the order asked for: ``row`` in the array, ``width`` and
            ``height`` of the original in pixels, ``content`` (a hash of the cached pixels;
            equal hashes are equal pictures), ``reason`` (empty, or why it cannot be used),
            and of masks ``mask_pixels`` (how many pixels of the original are set).
    """

    path: Path
    table: pd.DataFrame

    def open(self) -> np.ndarray:
        """Return the images as a read-only memory map: only what is used is read."""
        return np.load(self.path, mmap_mode="r")


def open_image(path: str | os.PathLike[str]) -> Image.Image:
    """Return an image as it is stored: of its own size and mode, nothing converted.

    Args:
        path: a file, or the address of an image inside an npz archive
            (``pneumoniamnist.npz#train/17``). Of a file only the head is read at once; the
            pixels follow when they are used.

    Raises:
        UnreadableImageError: with the reason.
    """
    with _reasons():
        return _opened(path)


def read_image(path: str | os.PathLike[str], image_size: int, fit: str = "pad") -> np.ndarray:
    """Return an image file's first frame as RGB, upright, of one size.

    Sixteen-bit images are brought to eight bits, palettes and CMYK converted, transparency
    is laid over black, a camera's rotation mark is obeyed. JPEGs are scaled down while they
    are decoded.

    Args:
        path: the file, or the address of an image inside an npz archive
            (``pneumoniamnist.npz#train/17``).
        image_size: height and width of the result, pixels.
        fit: how an image that is not square becomes square: ``"pad"`` (black beside it,
            shape kept), ``"crop"`` (the middle, shape kept) or ``"squash"`` (all of it,
            shape lost).

    Returns:
        uint8 (image_size, image_size, 3).

    Raises:
        UnreadableImageError: with the reason.
    """
    return _read(path, image_size, fit)[0]


def read_original(path: Source) -> np.ndarray:
    """Return an image file's first frame as RGB, upright, at its own size.

    Decoded to the last pixel, so that equal arrays are equal pictures; ``read_image`` lets
    the decoder skip detail and is what networks need.

    Args:
        path: the file, or the pixels that an archive holds.

    Returns:
        uint8 (height, width, 3).

    Raises:
        UnreadableImageError: with the reason.
    """
    return np.asarray(_open_upright(path, "pad")[0])


def other_size(mask: Sequence[int], image: Sequence[int]) -> str:
    """Return the reason for which an image with a mask of another size is left out.

    Args:
        mask: width and height in pixels.
        image: the same.
    """
    return "its mask has another size: {}×{} instead of {}×{}".format(*mask, *image)


def read_mask(path: str | os.PathLike[str], image_size: int, fit: str = "pad") -> np.ndarray:
    """Return a mask file of one size, with the geometry that ``read_image`` gives its image.

    A mask has two values: 0, and any other one (255 in most files) where a pixel is set. A
    pixel of the result is set where at least half of its area is; so a spot much smaller
    than that vanishes at small sizes.

    Args:
        path: the file.
        image_size: height and width of the result, pixels.
        fit: the one that the image was read with.

    Returns:
        uint8 (image_size, image_size, 1), 0 or 1.

    Raises:
        UnreadableImageError: with the reason; also where it has more than two values, or
            none that is 0.
    """
    return _read_mask(path, image_size, fit)[0]


def measure_masks(files: Sequence[str]) -> pd.DataFrame:
    """Return the table of ``build_cache`` for masks, without keeping a pixel of them."""
    rows = [entry for _, entry in _read_all(files, SMALLEST, "pad", "mask")]
    return pd.DataFrame(rows, columns=["width", "height", "mask_pixels", "content", "reason"])


def build_cache(
    files: Sequence[str],
    image_size: int,
    *,
    name: str = "images",
    fit: str = "pad",
    kind: Kind = "image",
) -> Cache:
    """Return the cache of these files at one size, building it where there is none.

    It is keyed by each file's path, size in bytes and time of change, by ``image_size``,
    ``fit`` and ``kind``: a changed file makes a new one. It is written to a temporary name
    and renamed. Of several processes that want it at once, one builds it and the others wait.

    Args:
        files: paths of images, or their addresses inside npz archives; those of one archive
            are read fastest in the order in which they lie there.
        image_size: height and width in pixels.
        name: begins the cache's file name, for people.
        fit: see ``read_image``.
        kind: ``"image"``, or ``"mask"`` for files that ``read_mask`` is to read.

    Raises:
        OSError: the disk is full, or the cache's folder cannot be written; says what to do.
        ValueError: there are no files, or an npz archive is damaged.
    """
    if not files:
        raise ValueError("There are no images to read.")
    key = _key(files, image_size, fit, kind)
    stem = data_home() / "cache" / f"{name}-{image_size}px-{key}"
    array, table = stem.with_suffix(".npy"), stem.with_suffix(".csv")
    shape = (len(files), image_size, image_size, _CHANNELS[kind])
    if not _is_complete(array, table, shape):
        with turn(array):
            if not _is_complete(array, table, shape):  # nobody has built it meanwhile
                try:
                    require_space(stem.parent, int(np.prod(shape)))
                    _write_cache(files, shape, fit, kind, array, table)
                except OSError as error:
                    what = f"The image cache in {stem.parent}"
                    raise explained(error, what, int(np.prod(shape))) from error
    text = {"content": str, "reason": str}
    return Cache(array, pd.read_csv(table, dtype=text, keep_default_na=False))


def _read(source: Source, image_size: int, fit: str) -> tuple[np.ndarray, tuple[int, int]]:
    """Return ``read_image``'s result and the original's width and height."""
    upright, size = _open_upright(source, fit, draft=image_size * 2)
    return np.asarray(_to_square(upright, image_size, fit)), size


def _read_mask(
    source: Source, image_size: int, fit: str
) -> tuple[np.ndarray, tuple[int, int], int]:
    """Return ``read_mask``'s result, the original's size and how many of its pixels are set."""
    upright, size = _open_upright(source, fit)
    red, green, blue = np.moveaxis(np.asarray(upright), 2, 0)
    values = np.maximum(np.maximum(red, green), blue)
    levels = np.flatnonzero(np.bincount(values.ravel(), minlength=256))
    if len(levels) > 2 or (len(levels) == 2 and levels[0] != 0):
        shown = ", ".join(str(level) for level in levels[:4]) + (", …" if len(levels) > 4 else "")
        raise UnreadableImageError(
            f"a mask of {len(levels)} values ({shown}), where 0 and 255 are meant"
        )
    if levels[0] != 0:
        raise UnreadableImageError(f"a mask of which every pixel is set (to {levels[0]})")
    is_set = values > 0
    # the box filter is the share of a pixel's area that is set
    square = _to_square(
        Image.fromarray(is_set.astype(np.uint8) * 255), image_size, fit, Image.Resampling.BOX
    )
    mask = (np.asarray(square) >= 128).astype(np.uint8)[..., np.newaxis]
    return mask, size, int(is_set.sum())


def _open_upright(
    source: Source, fit: str, draft: int | None = None
) -> tuple[Image.Image, tuple[int, int]]:
    """Return the first frame, upright and RGB, and the width and height it is stored with.

    With ``draft`` a JPEG is decoded smaller, but no smaller than so many pixels.
    """
    if fit not in ("pad", "crop", "squash"):
        raise ValueError(f"fit={fit!r}: choose 'pad', 'crop' or 'squash'.")
    with _reasons(), _opened(source) as image:
        width, height = image.size
        _check_size(width, height)
        if draft is not None:
            # JPEG: let the decoder skip detail that the resize would throw away
            image.draft("RGB", (draft, draft))
        return ImageOps.exif_transpose(_to_rgb(image)), (width, height)


def _opened(source: Source) -> Image.Image:
    """Return the image of a file (its pixels not read yet), of an archive, or of pixels."""
    if isinstance(source, np.ndarray):
        return Image.fromarray(source)
    if packed.is_address(source):
        return Image.fromarray(packed.read(source))
    if Path(source).stat().st_size == 0:
        raise UnreadableImageError("the file is empty (zero bytes)")
    return Image.open(source)


@contextmanager
def _reasons() -> Iterator[None]:
    """Turn whatever goes wrong with an image file into one error whose text is the reason."""
    try:
        yield
    except UnreadableImageError:
        raise
    except packed.DamagedArchiveError as error:
        raise UnreadableImageError(str(error)) from error
    except FileNotFoundError as error:
        raise UnreadableImageError("the file does not exist") from error
    except UnidentifiedImageError as error:  # its own text is the path
        raise UnreadableImageError("damaged or not an image (no format that is known)") from error
    except Image.DecompressionBombError as error:
        raise UnreadableImageError(
            f"more than {LARGEST:,} pixels: a scan that was not meant, or a bomb"
        ) from error
    except Exception as error:  # Pillow raises a dozen kinds for damaged files
        raise UnreadableImageError(f"damaged or not an image ({_first_line(error)})") from error


def _check_size(width: int, height: int) -> None:
    if min(width, height) < SMALLEST:
        raise UnreadableImageError(
            f"{width}×{height} pixels: too small to show anything (at least {SMALLEST})"
        )
    if width * height > LARGEST:
        raise UnreadableImageError(
            f"{width}×{height} pixels: more than {LARGEST:,}, a scan that was not meant or a bomb"
        )


def _to_rgb(image: Image.Image) -> Image.Image:
    """Return the first frame as 8-bit RGB, with the marks needed to turn it upright."""
    exif = image.getexif()
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        image = _to_eight_bits(image)
    elif "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        image = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image)
    converted = image.convert("RGB")
    converted.getexif().update(exif)
    return converted


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Return a grey image of 16 bits, 32 bits or floating point as 8 bits.

    Whole numbers are taken to fill 16 bits, unless all lie below 256; floating-point
    images are taken to run from 0 to 1, unless they hold larger values (then to 255).
    """
    values = np.asarray(image, dtype=np.float64)
    top = float(values.max())
    if image.mode == "F":
        scale = 255.0 if top <= 1.0 else 1.0
    else:
        scale = 1.0 if top <= 255.0 else 255.0 / 65535.0
    return Image.fromarray(np.clip(np.rint(values * scale), 0, 255).astype(np.uint8))


def _to_square(
    image: Image.Image,
    size: int,
    fit: str,
    method: Image.Resampling = Image.Resampling.BICUBIC,
) -> Image.Image:
    """Return the image resized to a square, with antialiasing."""
    if image.size == (size, size):
        return image
    if fit == "squash":
        # the gap trades exactness for speed: not for masks
        gap = 2.0 if method == Image.Resampling.BICUBIC else None
        return image.resize((size, size), method, reducing_gap=gap)
    if fit == "crop":
        return ImageOps.fit(image, (size, size), method)
    return ImageOps.pad(image, (size, size), method, color="black")


def _key(files: Sequence[str], image_size: int, fit: str, kind: Kind) -> str:
    """Return a short hash that changes when any file, the size or this code's format does."""
    settings = f"{_CACHE_VERSION} {image_size} {fit}" + (" mask" if kind == "mask" else "")
    digest = hashlib.blake2b(settings.encode(), digest_size=8)
    for file in files:
        try:
            status = Path(packed.archive_of(file)).stat()
            digest.update(f"\n{file} {status.st_size} {status.st_mtime_ns}".encode())
        except OSError:
            digest.update(f"\n{file} missing".encode())
    return digest.hexdigest()


def _is_complete(array: Path, table: Path, shape: tuple[int, ...]) -> bool:
    """Return whether a cache lies there whole; the table is written last."""
    try:
        rows = len(pd.read_csv(table, usecols=["reason"]))
        return rows == shape[0] and np.load(array, mmap_mode="r").shape == shape
    except (OSError, ValueError, EOFError):  # missing, cut short, empty
        return False


def _write_cache(
    files: Sequence[str],
    shape: tuple[int, ...],
    fit: str,
    kind: Kind,
    array: Path,
    table: Path,
) -> None:
    """Write the pixels, then the table.

    The pixels go through an ordinary file, not a memory map: on a full disk a write
    reports an error, where a mapped page would kill the process.
    """
    rows = []
    with atomic_file(array) as temporary, temporary.open("wb") as stream:
        np.lib.format.write_array_header_1_0(
            stream, {"descr": "|u1", "fortran_order": False, "shape": shape}
        )
        for number, (pixels, entry) in enumerate(_read_all(files, shape[1], fit, kind)):
            stream.write(pixels.tobytes())
            rows.append({"row": number, **entry})
    with atomic_file(table) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)


def _read_all(
    files: Sequence[str], image_size: int, fit: str, kind: Kind
) -> Iterator[tuple[np.ndarray, dict[str, object]]]:
    """Yield pixels and table entry of each file in order, few in memory at a time."""

    def read(source: Source) -> tuple[np.ndarray, dict[str, object]]:
        more: dict[str, object] = {}
        reason = ""
        try:
            if kind == "mask":
                pixels, (width, height), more["mask_pixels"] = _read_mask(source, image_size, fit)
            else:
                pixels, (width, height) = _read(source, image_size, fit)
        except UnreadableImageError as error:
            pixels = np.zeros((image_size, image_size, _CHANNELS[kind]), np.uint8)
            width, height, reason = 0, 0, str(error)
            more = {"mask_pixels": 0} if kind == "mask" else {}
        content = hashlib.blake2b(pixels.tobytes(), digest_size=8).hexdigest() if not reason else ""
        entry = {"width": width, "height": height, **more, "content": content, "reason": reason}
        return pixels, entry

    # Threads suffice: Pillow decodes and resizes outside Python's lock.
    # An archive is unpacked by one reader, since it can only be read forwards.
    with ThreadPoolExecutor(os.cpu_count() or 2) as pool, packed.Reader() as archives:
        starts = range(0, len(files), _BLOCK)
        for start in progress(starts, f"reading {kind}s", total=len(starts)):
            sources = [
                archives.read(file) if packed.is_address(file) else file
                for file in files[start : start + _BLOCK]
            ]
            yield from pool.map(read, sources)


def _first_line(error: BaseException) -> str:
    """Return what an error says, short and without the path that an OSError adds."""
    says = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    lines = says.splitlines()
    return lines[0][:120] if lines else type(error).__name__
