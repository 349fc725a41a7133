"""Regions against what is known of rectangles, corners and rings."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import regions


def squares() -> np.ndarray:
    """Return a mask with a part of six pixels, one of two and one of one."""
    mask = np.zeros((10, 12), np.uint8)
    mask[1:3, 2:5] = 255
    mask[6, 8:10] = 255
    mask[9, 0] = 255
    return mask


def rectangle() -> np.ndarray:
    """Return a mask with rows 2 to 4 and columns 3 to 7 covered."""
    mask = np.zeros((8, 9), bool)
    mask[2:5, 3:8] = True
    return mask


def test_a_rectangle_by_hand() -> None:
    found = regions.describe_regions(rectangle(), pixel_mm=0.5)
    assert (found.area, found.area_mm2, found.parts) == (15, 3.75, 1)
    assert (found.row, found.column) == (3.0, 5.0)
    assert (found.top, found.left, found.bottom, found.right) == (2, 3, 5, 8)
    assert rectangle()[found.top : found.bottom, found.left : found.right].all()


def test_all_parts_are_taken_together() -> None:
    found = regions.describe_regions(squares())
    assert (found.area, found.parts) == (9, 3)
    assert (found.top, found.left, found.bottom, found.right) == (1, 0, 10, 10)
    assert found.row == pytest.approx((3 * 1 + 3 * 2 + 2 * 6 + 9) / 9)
    assert np.isnan(found.area_mm2)


def test_pixels_that_touch_at_a_corner_belong_together() -> None:
    assert regions.describe_regions(np.eye(3)).parts == 1


def test_an_empty_mask_is_nowhere() -> None:
    found = regions.describe_regions(np.zeros((4, 4)), pixel_mm=1)
    assert (found.area, found.area_mm2, found.parts, found.top, found.right) == (0, 0.0, 0, -1, -1)
    assert np.isnan([found.row, found.column]).all()
    assert regions.outline(np.zeros((4, 4))) == []


def test_one_row_a_mask() -> None:
    table = regions.region_table(np.stack([squares(), np.zeros((10, 12))])[..., None])
    assert table["area"].tolist() == [9, 0]
    assert list(table)[:4] == ["area", "area_mm2", "row", "column"]


def test_the_outline_lies_half_a_pixel_outside() -> None:
    (line,) = regions.outline(rectangle())
    assert line.min(axis=0).tolist() == [1.5, 2.5]
    assert line.max(axis=0).tolist() == [4.5, 7.5]
    np.testing.assert_array_equal(line[0], line[-1])  # closed


def test_outlines_at_the_edge_are_closed_and_holes_have_their_own() -> None:
    (line,) = regions.outline(np.ones((3, 3)))
    np.testing.assert_array_equal(line[0], line[-1])
    assert line.min() == -0.5
    ring = np.ones((7, 7))
    ring[3, 3] = 0
    assert len(regions.outline(ring)) == 2


def test_tidying_up() -> None:
    mask = squares()
    assert regions.keep_largest(mask).sum() == 6
    assert regions.keep_largest(mask).dtype == bool
    left = [int(regions.drop_small(mask, size).sum()) for size in (0, 2, 3, 6, 7)]
    assert left == [9, 8, 6, 6, 0]
    assert not regions.keep_largest(np.zeros((3, 3))).any()
    assert not regions.drop_small(np.zeros((3, 3)), 2).any()
    tie = np.array([[1, 0, 0, 0, 1]])
    assert regions.keep_largest(tie).tolist() == [[True, False, False, False, False]]


def test_parts_of_a_volume_hang_together_from_slice_to_slice() -> None:
    volume = np.zeros((3, 4, 4), np.uint8)
    volume[0, 0, 0] = volume[1, 1, 1] = volume[2, 1, 1] = 1  # the first two touch at a corner
    volume[0, 3, 3] = 1
    kept = regions.keep_largest(volume)
    assert kept.sum() == 3
    assert not kept[0, 3, 3]


def test_nothing_is_changed_in_place() -> None:
    mask = squares()
    regions.keep_largest(mask)
    regions.drop_small(mask, 5)
    regions.outline(mask)
    np.testing.assert_array_equal(mask, squares())


def test_what_is_no_mask() -> None:
    with pytest.raises(ValueError, match=r"masks\[0\]"):
        regions.describe_regions(np.zeros((2, 4, 4)))
    with pytest.raises(ValueError, match="above 0"):
        regions.describe_regions(np.zeros((4, 4)), pixel_mm=0)
    with pytest.raises(ValueError, match="for a volume"):
        regions.keep_largest(np.zeros(4))
    with pytest.raises(ValueError, match="0 or more"):
        regions.drop_small(np.zeros((4, 4)), -1)
