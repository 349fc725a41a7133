"""Where a mask lies: area, centre, box and parts of a tumour, outlines, and tidying up.

Thin over scikit-image. Rows are counted downwards and columns to the right, both from 0, at
the centres of pixels: a region that is the single pixel in the corner has its centre at
(0.0, 0.0). Pixels that touch at a corner belong together.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from scipy.ndimage import find_objects
from skimage.measure import find_contours, label


@dataclass(frozen=True)
class Regions:
    """What one mask covers; all parts taken together.

    Attributes:
        area: pixels.
        area_mm2: square millimetres (NaN where the size of a pixel is not known).
        row: of the centroid (NaN where the mask is empty).
        column: likewise.
        top: first row of the bounding box (−1 where the mask is empty) …
        left: … first column …
        bottom: … row below it …
        right: … and column beyond it, so that ``mask[top:bottom, left:right]`` is the box.
        parts: number of regions that do not touch.
    """

    area: int
    area_mm2: float
    row: float
    column: float
    top: int
    left: int
    bottom: int
    right: int
    parts: int


def describe_regions(mask: np.ndarray, pixel_mm: float | None = None) -> Regions:
    """Return area, centroid, bounding box and number of parts of a mask.

    Args:
        mask: (height, width) or (height, width, 1); what is not 0 counts.
        pixel_mm: side of a pixel in millimetres, *of this mask*: a mask that was resized has
            other pixels than the scan.

    Raises:
        ValueError: another shape, or a pixel without size.
    """
    if pixel_mm is not None and not pixel_mm > 0:
        raise ValueError(f"pixel_mm={pixel_mm}: give the side of a pixel in mm, above 0.")
    covered = _plane(mask)
    area = int(covered.sum())
    size = area * pixel_mm**2 if pixel_mm is not None else np.nan
    if not area:
        return Regions(0, float(size), np.nan, np.nan, -1, -1, -1, -1, 0)
    rows, columns = np.nonzero(covered)
    box = find_objects(covered.astype(np.uint8))[0]
    return Regions(
        area=area,
        area_mm2=float(size),
        row=float(rows.mean()),
        column=float(columns.mean()),
        top=box[0].start,
        left=box[1].start,
        bottom=box[0].stop,
        right=box[1].stop,
        parts=int(label(covered, connectivity=2).max()),
    )


def region_table(masks: np.ndarray, pixel_mm: float | None = None) -> pd.DataFrame:
    """Return ``describe_regions`` of each of (n, height, width) masks, one a row."""
    return pd.DataFrame([asdict(describe_regions(mask, pixel_mm)) for mask in masks])


def outline(mask: np.ndarray) -> list[np.ndarray]:
    """Return the closed lines around the regions of a mask, and around holes in them.

    Args:
        mask: (height, width) or (height, width, 1); what is not 0 counts.

    Returns:
        One array (points, 2) of rows and columns a line, half-way between a pixel inside and
        one outside. Draw it with ``axes.plot(line[:, 1], line[:, 0])``.
    """
    # one pixel of nothing around it, so that a region at the edge has a closed line, too
    padded = np.pad(_plane(mask).astype(float), 1)
    return [line - 1 for line in find_contours(padded, 0.5)]


def keep_largest(mask: np.ndarray) -> np.ndarray:
    """Return the mask with its largest part alone; of equal ones the first in reading order.

    A rule, not a measurement: it helps where there is one tumour, and hides the second where
    there are two. Decide on the validation patients whether to use it.

    Args:
        mask: (height, width) or a volume (slices, height, width); parts that touch at a
            corner, or in the next slice, belong together. What is not 0 counts.

    Returns:
        bool, of the same shape.
    """
    numbered, sizes = _parts(mask)
    if not len(sizes):
        return numbered > 0
    kept: np.ndarray = numbered == 1 + int(sizes.argmax())
    return kept


def drop_small(mask: np.ndarray, smallest: int) -> np.ndarray:
    """Return the mask without the parts of fewer than so many pixels: see ``keep_largest``.

    Args:
        mask: as in ``keep_largest``.
        smallest: a part of this many pixels (of a volume: voxels) stays.

    Raises:
        ValueError: ``smallest`` is negative.
    """
    if smallest < 0:
        raise ValueError(f"smallest={smallest}: give a number of pixels, 0 or more.")
    numbered, sizes = _parts(mask)
    stays = np.r_[False, sizes >= smallest]
    kept: np.ndarray = stays[numbered]
    return kept


def _parts(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of the part that each pixel belongs to, 0 for none, and their sizes."""
    covered = np.asarray(mask) != 0
    if covered.ndim not in (2, 3):
        raise ValueError(
            f"A mask of shape {covered.shape}: give (height, width), or (slices, height, width) "
            f"for a volume."
        )
    numbered: np.ndarray = label(covered, connectivity=covered.ndim)
    return numbered, np.bincount(numbered.ravel())[1:]


def _plane(mask: np.ndarray) -> np.ndarray:
    """Return one mask as truths (height, width)."""
    covered: np.ndarray = np.asarray(mask) != 0
    if covered.ndim == 3 and covered.shape[2] == 1:
        covered = covered[:, :, 0]
    if covered.ndim != 2 or not covered.size:
        raise ValueError(
            f"A mask of shape {np.shape(mask)}: give (height, width); of several pass one: "
            f"masks[0]. Probabilities become a mask by probabilities >= 0.5."
        )
    return covered
