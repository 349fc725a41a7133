"""Augmentation: nothing outside training, exact where it can be, picture and mask together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from helpers.augment import Augment

SIZE = 16


def pictures(count: int = 24, size: int = SIZE, seed: int = 0) -> np.ndarray:
    """Return noise: no two turns or mirror images of it are alike."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, size, size, 3)).astype(np.float32)


def augmented(layer: Augment, images: np.ndarray, *masks: np.ndarray) -> Any:
    """Return what the layer makes of images in training, as numpy."""
    result = layer(images, *masks, training=True)
    if masks:
        return tuple(np.asarray(part) for part in result)
    return np.asarray(result)


def drawn(layer: Augment, **fixed: float) -> None:
    """Let a layer draw these numbers for the amounts of these names, instead of random ones.

    ``_draw`` and ``_coin`` are called in a fixed order; only the amounts that are set count.
    """
    draw = layer._draw

    def chosen(count: Any, amount: float) -> Any:
        if amount in fixed_by_amount:
            return keras.ops.full((count,), fixed_by_amount[amount])
        return draw(count, amount)

    fixed_by_amount = {
        {
            "rotate": np.deg2rad(layer.settings["rotate"]),
            "zoom": layer.settings["zoom"],
            "shift": layer.settings["shift"] * SIZE,
            "shear": np.deg2rad(layer.settings["shear"]),
        }[name]: value
        for name, value in fixed.items()
    }
    layer._draw = chosen  # type: ignore[method-assign]


# -- outside training ----------------------------------------------------------------------


def everything(seed: int = 0) -> Augment:
    """Return a layer that does all it can."""
    return Augment(
        rotate=30,
        zoom=0.2,
        shift=0.1,
        shear=10,
        flip_left_right=True,
        flip_up_down=True,
        quarter_turns=True,
        brightness=20,
        contrast=0.2,
        colour=0.1,
        crop=0.2,
        stain=0.1,
        keep_black=True,
        seed=seed,
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_outside_training_nothing_changes(dtype: type) -> None:
    images = pictures().astype(dtype)
    for found in (everything()(images), everything()(images, training=False)):
        assert np.asarray(found).dtype == np.float32
        np.testing.assert_array_equal(np.asarray(found), images)
    same, masks = everything()(images, images[..., :1])
    np.testing.assert_array_equal(np.asarray(same), images)
    np.testing.assert_array_equal(np.asarray(masks), images[..., :1])
    assert np.abs(augmented(everything(), images) - images).max() > 50


def test_no_amount_changes_nothing_in_training() -> None:
    images = pictures()
    np.testing.assert_allclose(augmented(Augment(), images), images, atol=1e-3)


# -- geometry ------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [16, 17])
def test_quarter_turns_are_exact_and_all_four_occur(size: int) -> None:
    images = pictures(40, size)
    found = augmented(Augment(quarter_turns=True), images)
    turns = []
    for before, after in zip(images, found, strict=True):
        gaps = [np.abs(after - np.rot90(before, k)).max() for k in range(4)]
        turns.append(int(np.argmin(gaps)))
        assert min(gaps) < 0.05  # grey levels: rounding of the matrix, no resampling
    # 40 draws miss one of four with a chance of 4 · 0.75^40 = 0.00004
    assert set(turns) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("flips", "possible"),
    [
        ({"flip_left_right": True}, {0, 1}),
        ({"flip_up_down": True}, {0, 2}),
        ({"flip_left_right": True, "flip_up_down": True}, {0, 1, 2, 3}),
    ],
)
def test_flips_are_exact(flips: dict[str, bool], possible: set[int]) -> None:
    images = pictures(60)
    kinds = [images, images[:, :, ::-1], images[:, ::-1], images[:, ::-1, ::-1]]
    found = augmented(Augment(**flips), images)
    gaps = np.stack([np.abs(found - kind).max(axis=(1, 2, 3)) for kind in kinds])
    assert gaps.min(axis=0).max() < 0.01
    assert set(gaps.argmin(axis=0)) == possible
    if len(possible) == 2:  # a fair coin: 60 throws, 999 of 1,000 times within 17 and 43
        assert 17 <= (gaps.argmin(axis=0) == 0).sum() <= 43


@pytest.mark.parametrize("angle", [90.0, -90.0, 180.0])
def test_a_known_rotation_is_that_of_numpy(angle: float) -> None:
    layer = Augment(rotate=180)
    drawn(layer, rotate=float(np.deg2rad(angle)))
    images = pictures(2)
    turned = np.rot90(images, round(angle / 90), axes=(1, 2))
    np.testing.assert_allclose(augmented(layer, images), turned, atol=0.05)


def test_a_small_rotation_turns_by_that_angle() -> None:
    """A bright dot right of the centre moves along a circle."""
    image = np.zeros((1, 65, 65, 3), np.float32)
    rows, columns = np.mgrid[:65, :65]
    image[0] = 255 * np.exp(-((rows - 32) ** 2 + (columns - 52) ** 2) / 8)[..., None]
    layer = Augment(rotate=40)
    drawn(layer, rotate=float(np.deg2rad(30)))
    found = augmented(layer, image)[0, ..., 0]
    row, column = (np.sum(found * grid) / found.sum() for grid in (rows, columns))
    # the same way round as numpy.rot90: counter-clockwise, upwards on the right
    assert row == pytest.approx(32 - 20 * np.sin(np.deg2rad(30)), abs=0.1)
    assert column == pytest.approx(32 + 20 * np.cos(np.deg2rad(30)), abs=0.1)


@pytest.mark.parametrize(("factor", "width"), [(0.25, 20 * 1.25), (-0.25, 20 * 0.75)])
def test_zoom_is_a_factor_of_size(factor: float, width: float) -> None:
    image = np.zeros((1, 64, 64, 3), np.float32)
    image[:, 22:42, 22:42] = 200
    layer = Augment(zoom=0.3)
    drawn(layer, zoom=factor)
    found = augmented(layer, image)[0, ..., 0]
    assert found[32].sum() / 200 == pytest.approx(width, abs=0.05)
    assert found[:, 32].sum() / 200 == pytest.approx(width, abs=0.05)


def test_shift_is_a_share_of_the_size_and_shows_black_behind() -> None:
    layer = Augment(shift=0.25)
    drawn(layer, shift=0.25 * SIZE)  # both ways: the source lies 4 pixels right and below
    images = pictures(2) + 1
    found = augmented(layer, images)
    np.testing.assert_allclose(found[:, :12, :12], images[:, 4:, 4:], atol=1e-3)
    assert not found[:, 12:].any()
    assert not found[:, :, 12:].any()


def test_shear_is_in_degrees() -> None:
    """45° moves a row by its distance from the centre; 45 radians would not."""
    layer = Augment(shear=45)
    drawn(layer, shear=float(np.deg2rad(45)))
    images = pictures(1, 17)
    found = augmented(layer, images)
    for row in range(17):
        offset = row - 8  # of the source, to the right
        there = slice(max(0, -offset), 17 - max(0, offset))
        source = slice(max(0, offset), 17 - max(0, -offset))
        np.testing.assert_allclose(found[:, row, there], images[:, row, source], atol=0.05)


def test_a_shift_is_that_share_of_the_picture_whatever_else_is_done() -> None:
    """A dot at the centre stays there when it is turned and zoomed: only the shift moves it."""
    image = np.zeros((200, 33, 33, 3), np.float32)
    image[:, 15:18, 15:18] = 255
    everywhere = {"rotate": 180, "zoom": 0.3, "shear": 10, "flip_left_right": True}
    rows, columns = np.mgrid[:33, :33]

    def moved(**amounts: Any) -> np.ndarray:
        found = augmented(Augment(**amounts), image)[..., 0]
        places = [(found * grid).sum((1, 2)) / found.sum((1, 2)) for grid in (rows, columns)]
        return np.stack(places) - 16

    assert np.abs(moved(**everywhere)).max() < 0.1
    both = np.abs(moved(**everywhere, shift=0.1))
    assert both.max() <= 3.3 + 0.1  # a tenth of 33 pixels each way
    assert (both.max(axis=1) > 2.8).all()


def test_flips_come_before_the_rotation() -> None:
    """A dot above and right of the centre: mirrored it lies left of it, then it is turned."""
    images = np.zeros((40, 65, 65, 3), np.float32)
    images[:, 11:14, 51:54] = 255
    layer = Augment(rotate=40, flip_left_right=True)
    drawn(layer, rotate=float(np.deg2rad(30)))
    found = augmented(layer, images)[..., 0]
    rows, columns = np.mgrid[:65, :65]
    up = 32 - (found * rows).sum((1, 2)) / found.sum((1, 2))
    right = (found * columns).sum((1, 2)) / found.sum((1, 2)) - 32
    expected = [(20 + 20j) * np.exp(1j * np.pi / 6), (-20 + 20j) * np.exp(1j * np.pi / 6)]
    apart = np.abs((right + 1j * up)[:, None] - np.array(expected))
    assert apart.min(axis=1).max() < 0.2
    assert set(apart.argmin(axis=1)) == {0, 1}


# -- crop ----------------------------------------------------------------------------------


def test_a_crop_keeps_a_part_of_the_picture_and_fills_the_frame() -> None:
    """Of two ramps, the slopes say which share of width and height is kept, the ends where."""
    size = 65
    ramp = np.broadcast_to(np.arange(size, dtype=np.float32), (300, size, size))
    images = np.stack([ramp, ramp.transpose(0, 2, 1), ramp], axis=-1)
    found = augmented(Augment(crop=0.4), images)
    wide = (found[:, 32, 40, 0] - found[:, 32, 24, 0]) / 16
    high = (found[:, 40, 32, 1] - found[:, 24, 32, 1]) / 16
    area = wide * high
    assert 0.6 - 1e-3 <= area.min() < 0.65
    assert 0.95 < area.max() <= 1 + 1e-3
    assert max(wide.max(), high.max()) <= 1 + 1e-3
    assert 3 / 4 - 1e-3 <= (wide / high).min() < 0.85
    assert 1.2 < (wide / high).max() <= 4 / 3 + 1e-3
    middle = found[:, 32, 32, 0] - 32  # of what is kept, measured from that of the picture
    assert (np.abs(middle) <= (1 - wide) / 2 * size + 0.01).all()
    assert middle.min() < -3 < 3 < middle.max()
    # nothing of what lies outside of the picture is to be seen
    ones = augmented(Augment(crop=0.4), np.full((50, 16, 16, 3), 200, np.float32))
    assert ones[:, 1:-1, 1:-1].min() > 199


def test_a_mask_is_cropped_with_its_picture() -> None:
    ramp = np.broadcast_to(np.arange(33, dtype=np.float32)[None, None, :, None], (32, 33, 33, 1))
    images, masks = augmented(
        Augment(crop=0.3, rotate=20, fill_mode="nearest"), np.repeat(ramp, 3, axis=3), ramp
    )
    inside = (images[..., :1] > 0.5) & (images[..., :1] < 31.5)
    assert np.abs(images[..., :1] - masks)[inside].max() <= 0.5 + 1e-3


def test_a_picture_is_resampled_once() -> None:
    """Turned by 45° twice in one matrix (turn and quarter turns) it is as sharp as by one."""
    images = pictures(60, 33)
    once = augmented(Augment(rotate=45), images)[:, 10:23, 10:23].std()
    composed = augmented(
        Augment(rotate=45, quarter_turns=True, flip_left_right=True, flip_up_down=True), images
    )[:, 10:23, 10:23].std()
    assert composed == pytest.approx(once, rel=0.05)


def test_each_image_is_moved_on_its_own() -> None:
    images = np.repeat(pictures(1), 8, axis=0)
    found = augmented(Augment(rotate=90), images)
    assert len(np.unique(found.reshape(8, -1).round(2), axis=0)) == 8


@pytest.mark.parametrize(("mode", "corner"), [("constant", 0.0), ("nearest", 77.0)])
def test_what_stands_outside_the_picture(mode: str, corner: float) -> None:
    images = np.full((8, SIZE, SIZE, 3), 77, np.float32)
    layer = Augment(rotate=45, fill_mode=mode)
    drawn(layer, rotate=float(np.deg2rad(45)))
    found = augmented(layer, images)
    np.testing.assert_allclose(found[:, 0, 0], corner, atol=1e-3)
    np.testing.assert_allclose(found[:, 8, 8], 77, atol=1e-3)


# -- masks ---------------------------------------------------------------------------------


def test_a_mask_takes_the_same_turns_and_flips() -> None:
    images = pictures()
    layer = Augment(quarter_turns=True, flip_left_right=True, flip_up_down=True, brightness=0)
    found, masks = augmented(layer, images, images[..., :1])
    np.testing.assert_allclose(masks, found[..., :1], atol=0.05)
    assert np.abs(found - images).max() > 50


def test_a_mask_stays_on_its_picture_under_any_warp() -> None:
    """On a ramp of one grey level a pixel, nearest and bilinear differ by at most half one."""
    ramp = np.broadcast_to(np.arange(33, dtype=np.float32)[None, None, :, None], (32, 33, 33, 1))
    layer = Augment(rotate=180, zoom=0.2, shift=0.1, shear=10, flip_left_right=True,
                    quarter_turns=True, fill_mode="nearest")  # fmt: skip
    images, masks = augmented(layer, np.repeat(ramp, 3, axis=3), ramp)
    inside = (images[..., :1] > 0.5) & (images[..., :1] < 31.5)
    assert inside.mean() > 0.5
    assert np.abs(images[..., :1] - masks)[inside].max() <= 0.5 + 1e-3
    assert set(np.unique(masks)) <= set(range(33))  # no grey between labels


def test_a_mask_is_never_recoloured() -> None:
    masks = (pictures()[..., :1] > 128).astype(np.float32)
    layer = Augment(brightness=50, contrast=0.5, colour=0.5, stain=0.5, keep_black=True)
    images, found = augmented(layer, pictures(), masks)
    np.testing.assert_allclose(found, masks, atol=1e-4)
    assert np.abs(images - pictures()).max() > 20


# -- colour --------------------------------------------------------------------------------


def test_brightness_adds_one_number_to_an_image() -> None:
    images = np.clip(pictures(200), 60, 190)
    change = augmented(Augment(brightness=20), images) - images
    each = change.mean(axis=(1, 2, 3))
    assert np.abs(change - each[:, None, None, None]).max() < 1e-3
    assert np.abs(each).max() <= 20
    assert each.min() < -15
    assert each.max() > 15


def test_contrast_is_about_mid_grey() -> None:
    images = np.clip(pictures(200), 60, 190)
    factors = (augmented(Augment(contrast=0.2), images) - 127.5) / (images - 127.5)
    each = np.median(factors, axis=(1, 2, 3))
    assert np.abs(factors - each[:, None, None, None]).max() < 1e-2
    assert 0.8 - 1e-4 <= each.min() < 0.85
    assert 1.15 < each.max() <= 1.2 + 1e-4


def test_colour_is_a_factor_for_each_channel() -> None:
    images = np.clip(pictures(200), 60, 190)
    factors = augmented(Augment(colour=0.1), images) / images
    each = factors.mean(axis=(1, 2))
    assert np.abs(factors - each[:, None, None]).max() < 1e-4
    assert 0.9 - 1e-4 <= each.min() < 0.92
    assert 1.08 < each.max() <= 1.1 + 1e-4
    assert np.abs(each[:, 0] - each[:, 1]).max() > 0.05


def test_a_stain_multiplies_the_density_of_each_channel() -> None:
    images = pictures(200)
    found = augmented(Augment(stain=0.2), images)

    def density(values: np.ndarray) -> np.ndarray:
        return -np.log((values + 1) / 256)

    thick = images < 250  # of a density that can be divided by
    factors = np.where(thick, density(found) / np.maximum(density(images), 0.01), np.nan)
    each = np.nanmedian(factors, axis=(1, 2))
    # very dark pixels were cut off at black
    assert np.nanquantile(np.abs(factors - each[:, None, None]), 0.98) < 1e-3
    assert 0.8 - 1e-4 <= each.min() < 0.83
    assert 1.17 < each.max() <= 1.2 + 1e-4
    assert np.abs(each[:, 0] - each[:, 1]).max() > 0.1
    white = np.full((20, 8, 8, 3), 255, np.float32)
    np.testing.assert_allclose(augmented(Augment(stain=0.2), white), white, atol=1e-3)
    assert np.abs(augmented(Augment(colour=0.2), white) - white).max() > 20  # which colour tints


RELIT = {"brightness": 60, "contrast": 0.4, "colour": 0.2, "stain": 0.2}


def test_black_stays_black_where_asked() -> None:
    images = np.clip(pictures(50), 60, 190)
    images[:, :4] = 0
    images[:, 4:6] = 3  # what a JPEG makes of black
    lit = augmented(Augment(**RELIT, seed=1), images)
    kept = augmented(Augment(**RELIT, keep_black=True, seed=1), images)
    assert lit[:, :4].max() > 20
    assert not kept[:, :4].any()
    np.testing.assert_allclose(kept[:, 6:], lit[:, 6:], atol=1e-3)  # the picture changes in full
    change, full = kept[:, 4:6] - 3, lit[:, 4:6] - 3
    np.testing.assert_allclose(change, full * 3 / 8, atol=1e-3)
    # also the black that the warp itself brings in
    layer = Augment(rotate=45, brightness=60, keep_black=True)
    drawn(layer, rotate=float(np.deg2rad(45)))
    moved = augmented(layer, np.clip(pictures(50), 60, 190))
    assert not moved[:, 0, 0].any()
    assert moved[:, 8, 8].all()


def test_colours_of_a_grey_picture_stay_grey() -> None:
    grey = np.repeat(pictures(20)[..., :1], 3, axis=3)
    found = augmented(Augment(rotate=10, brightness=20, contrast=0.2), grey)
    np.testing.assert_allclose(found, np.repeat(found[..., :1], 3, axis=3), atol=1e-3)


def test_colours_stay_between_0_and_255() -> None:
    found = augmented(Augment(brightness=200, contrast=0.9, colour=0.9), pictures(50))
    assert found.min() == 0.0
    assert found.max() == 255.0


# -- determinism ---------------------------------------------------------------------------


def test_a_seed_fixes_what_is_drawn() -> None:
    images = pictures()
    first, second = everything(seed=3), everything(seed=3)
    for _ in range(3):
        np.testing.assert_array_equal(augmented(first, images), augmented(second, images))
    again, other = augmented(first, images), augmented(everything(seed=4), images)
    assert np.abs(again - other).max() > 50
    assert np.abs(again - augmented(first, images)).max() > 50  # another draw each time


def test_global_random_state_is_left_alone() -> None:
    before = np.random.get_state()[1].copy()  # type: ignore[index,union-attr]
    augmented(everything(), pictures())
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # type: ignore[index]


# -- as a layer ----------------------------------------------------------------------------


def test_a_layer_can_be_built_again_from_its_settings() -> None:
    layer = everything(seed=7)
    again = Augment.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    np.testing.assert_array_equal(augmented(again, pictures()), augmented(layer, pictures()))


def test_inside_a_model_that_is_saved_and_loaded(tmp_path: Path) -> None:
    inputs = keras.Input((SIZE, SIZE, 3), name="pixels")
    model = keras.Model(inputs, Augment(quarter_turns=True, brightness=5, seed=1)(inputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    images = pictures()
    np.testing.assert_array_equal(loaded.predict(images, verbose=0), images)
    assert np.abs(np.asarray(loaded(images, training=True)) - images).max() > 50
    assert loaded.layers[-1].settings["brightness"] == 5
    assert model.output_shape == (None, SIZE, SIZE, 3)


def test_inside_a_model_with_masks() -> None:
    inputs, masks = keras.Input((SIZE, SIZE, 3)), keras.Input((SIZE, SIZE, 1))
    layer = Augment(quarter_turns=True, flip_left_right=True)
    model = keras.Model([inputs, masks], layer(inputs, masks))
    assert [output.shape for output in model.outputs] == [
        (None, SIZE, SIZE, 3),
        (None, SIZE, SIZE, 1),
    ]
    images = pictures()
    found, moved = (np.asarray(part) for part in model([images, images[..., :1]], training=True))
    np.testing.assert_allclose(found[..., :1], moved, atol=0.05)
    assert np.abs(found - images).max() > 50


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"zoom": 2}, "zoom=2.*share and must be below 1"),
        ({"zoom": 1.0}, "must be below 1"),
        ({"contrast": 1.5}, "contrast=1.5.*below 1"),
        ({"colour": 1}, "below 1"),
        ({"stain": 1}, "stain=1.*below 1"),
        ({"stain": -0.1}, "0 or more"),
        ({"crop": 1.0}, "crop=1.0.*cut away and must be below 1"),
        ({"crop": -0.1}, "0 or more"),
        ({"rotate": -5}, "rotate=-5.*0 or more"),
        ({"shift": -0.1}, "0 or more"),
        ({"brightness": -1}, "0 or more"),
        ({"fill_mode": "black"}, "'black'.*choose constant, nearest, reflect or wrap"),
    ],
)
def test_amounts_that_cannot_be_meant(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Augment(**wrong)


def test_quarter_turns_need_a_square() -> None:
    images = np.zeros((2, 16, 24, 3), np.float32)
    with pytest.raises(ValueError, match="square"):
        augmented(Augment(quarter_turns=True), images)
    assert augmented(Augment(rotate=10, flip_left_right=True), images).shape == images.shape
