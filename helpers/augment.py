"""Augmentation: one composed warp and one colour change, as a Keras layer.

Crop, flips, rotation, zoom, shear and shift are multiplied into a single matrix, so a
picture is resampled once: six layers in a row would blur it six times. The same matrix
moves a mask, so picture and mask stay together. It runs on any backend, on the GPU if there
is one.
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

_BLACK = 8.0  # grey levels of 255 from which on keep_black lets a pixel change in full


@keras.saving.register_keras_serializable(package="helpers")
class Augment(keras.layers.Layer):
    """A layer that warps and recolours each image of a batch at random while training.

    Outside training it returns its input unchanged. Every amount is a maximum: a value
    is drawn uniformly between minus and plus that amount, for each image anew. The order is
    crop, flip, then rotation, shear and zoom about the centre, then shift: so a shift of 0.05
    is 5 % of the picture, whatever its zoom.

    Args:
        rotate: degrees.
        zoom: share of the size; 0.1 draws factors between 0.9 and 1.1. Must stay below 1:
            a "zoom range of 2", as one source has it, would reach the factor −1 and turn
            pictures inside out.
        shift: share of width and height.
        shear: degrees (not radians, and not a share).
        flip_left_right, flip_up_down: mirror half of the images.
        quarter_turns: also turn by a random multiple of 90°, which needs square images.
        crop: largest share of the picture's area that is cut away; 0.2 keeps 80–100 % of it,
            at a random place, in a random format between 3:4 and 4:3, drawn out to the full size
            (a "random resized crop").
        brightness: grey levels of 255, added to all channels alike.
        contrast: share; 0.2 draws factors between 0.8 and 1.2 about mid-grey.
        colour: share; each channel is multiplied by a factor of its own. Grey images keep 0:
            they would become coloured.
        stain: share; the optical density of each channel is multiplied by a factor of its own,
            as if a section had taken up more or less of its dyes. Density is −log of the share
            of light that passes (Beer–Lambert), so white stays white, which ``colour`` would tint.
        keep_black: leave black what is black: a border around the picture must not become grey,
            or its brightness would tell how the image was changed. Below 8 grey levels of 255
            brightness, contrast and colour fade out, since a JPEG's black is not quite black.
        fill_mode: what stands where the warped image has no pixels: ``"constant"``
            (black), ``"nearest"`` (the edge repeated), ``"reflect"`` or ``"wrap"``.
        seed: the layer's own random numbers start here.

    Raises:
        ValueError: an amount is negative, or a share is 1 or more.

    Example:
        >>> augmented = Augment(rotate=20, flip_left_right=True, seed=1)(images, training=True)
    """

    def __init__(
        self,
        rotate: float = 0.0,
        zoom: float = 0.0,
        shift: float = 0.0,
        shear: float = 0.0,
        flip_left_right: bool = False,
        flip_up_down: bool = False,
        quarter_turns: bool = False,
        brightness: float = 0.0,
        contrast: float = 0.0,
        colour: float = 0.0,
        fill_mode: str = "constant",
        seed: int = 0,
        crop: float = 0.0,
        stain: float = 0.0,
        keep_black: bool = False,
        **kwargs: Any,
    ) -> None:
        """Store the amounts after checking them."""
        # in 16 bits a matrix would miss its pixels (and TensorFlow has no such warp on a GPU)
        super().__init__(**{"dtype": "float32", **kwargs})
        self.settings: dict[str, Any] = {
            "rotate": rotate,
            "zoom": zoom,
            "shift": shift,
            "shear": shear,
            "flip_left_right": flip_left_right,
            "flip_up_down": flip_up_down,
            "quarter_turns": quarter_turns,
            "brightness": brightness,
            "contrast": contrast,
            "colour": colour,
            "fill_mode": fill_mode,
            "seed": seed,
            "crop": crop,
            "stain": stain,
            "keep_black": keep_black,
        }
        _check(self.settings)
        self.generator = keras.random.SeedGenerator(seed)

    def call(self, images: Any, masks: Any = None, training: bool = False) -> Any:
        """Return the images augmented (and the masks warped with them, where given).

        Args:
            images: (n, height, width, channels), 0–255.
            masks: (n, height, width, 1) or None; moved by the same matrix, nearest neighbour,
                never recoloured.
            training: False returns everything as it came.

        Returns:
            Images, float32, 0–255; with masks a pair (images, masks).
        """
        images = ops.cast(images, "float32")
        if not training:
            return images if masks is None else (images, masks)
        height, width = int(images.shape[1]), int(images.shape[2])
        if self.settings["quarter_turns"] and height != width:
            raise ValueError(
                f"Augment(quarter_turns=True) needs square images; these are {width}×{height} "
                f"pixels and would lose their ends."
            )
        matrices = self._matrices(ops.shape(images)[0], height, width)
        fill_mode = self.settings["fill_mode"]
        images = ops.image.affine_transform(
            images, matrices, interpolation="bilinear", fill_mode=fill_mode, fill_value=0.0
        )
        images = self._recolour(images)
        if masks is None:
            return images
        masks = ops.image.affine_transform(
            ops.cast(masks, "float32"),
            matrices,
            interpolation="nearest",
            fill_mode=fill_mode,
            fill_value=0.0,
        )
        return images, masks

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape of the images: it does not change."""
        return input_shape

    def compute_output_spec(self, images: Any, masks: Any = None, training: bool = False) -> Any:
        """Return what comes out, without computing it: Keras asks while it builds a model."""
        moved = keras.KerasTensor(images.shape, "float32")
        return moved if masks is None else (moved, keras.KerasTensor(masks.shape, "float32"))

    def get_config(self) -> dict[str, Any]:
        """Return the settings from which Keras can build the layer again."""
        return {**super().get_config(), **self.settings}

    def _draw(self, count: Any, amount: float) -> Any:
        """Return ``count`` numbers between −amount and +amount."""
        return keras.random.uniform((count,), -amount, amount, seed=self.generator)

    def _coin(self, count: Any, wanted: bool) -> Any:
        """Return ``count`` signs: −1 (mirror) for about half of them where wanted, else 1."""
        if not wanted:
            return ops.ones((count,))
        return ops.sign(keras.random.uniform((count,), -1.0, 1.0, seed=self.generator) + 1e-12)

    def _matrices(self, count: Any, height: int, width: int) -> Any:
        """Return (n, 8) rows that tell, for each output pixel, where in the input it comes from.

        For an output pixel (x, y), measured from the centre, the source lies at
        ``crop · A ((x, y) − shift)`` with ``A = mirror · zoom · rotation · shear``: what was done
        last to the picture is undone first.
        """
        settings = self.settings
        angle = self._draw(count, math.radians(settings["rotate"]))
        if settings["quarter_turns"]:
            turns = keras.random.uniform((count,), 0.0, 4.0, seed=self.generator)
            angle = angle + ops.floor(turns) * (math.pi / 2)
        shear = ops.tan(self._draw(count, math.radians(settings["shear"])))
        scale_x = 1.0 / (1.0 + self._draw(count, settings["zoom"]))
        scale_y = scale_x
        scale_x = scale_x * self._coin(count, settings["flip_left_right"])
        scale_y = scale_y * self._coin(count, settings["flip_up_down"])
        shift_x = self._draw(count, settings["shift"] * width)
        shift_y = self._draw(count, settings["shift"] * height)
        wide, high, away_x, away_y = self._crop(count, height, width)
        cosine, sine = ops.cos(angle), ops.sin(angle)
        a, b = cosine * scale_x * wide, (cosine * shear - sine) * scale_x * wide
        c, d = sine * scale_y * high, (sine * shear + cosine) * scale_y * high
        centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
        # the shift is counted towards the left and the top; it is drawn both ways alike
        offset_x = centre_x + away_x - a * (centre_x - shift_x) - b * (centre_y - shift_y)
        offset_y = centre_y + away_y - c * (centre_x - shift_x) - d * (centre_y - shift_y)
        zeros = ops.zeros((count,))
        return ops.stack([a, b, offset_x, c, d, offset_y, zeros, zeros], axis=1)

    def _crop(self, count: Any, height: int, width: int) -> tuple[Any, Any, Any, Any]:
        """Return shares of width and height that are kept, and how far their middle lies off."""
        most = self.settings["crop"]
        if not most:
            return 1.0, 1.0, 0.0, 0.0
        area = keras.random.uniform((count,), 1.0 - most, 1.0, seed=self.generator)
        # formats that stay inside of the picture: neither share may be above 1
        widest = ops.minimum(math.log(4 / 3), -ops.log(area))
        format_ = ops.exp(widest * keras.random.uniform((count,), -1.0, 1.0, seed=self.generator))
        wide, high = ops.sqrt(area * format_), ops.sqrt(area / format_)
        away_x = self._draw(count, 0.5) * (1.0 - wide) * width
        away_y = self._draw(count, 0.5) * (1.0 - high) * height
        return wide, high, away_x, away_y

    def _recolour(self, images: Any) -> Any:
        """Return the images with brightness, contrast, channel factors and stain as drawn."""
        settings = self.settings
        changed = images
        if settings["brightness"] or settings["contrast"] or settings["colour"]:
            count, column = ops.shape(images)[0], (-1, 1, 1, 1)
            contrast = ops.reshape(1.0 + self._draw(count, settings["contrast"]), column)
            brightness = ops.reshape(self._draw(count, settings["brightness"]), column)
            changed = (images - 127.5) * contrast + 127.5 + brightness
            changed = changed * self._factors(images, settings["colour"])
            changed = ops.clip(changed, 0.0, 255.0)
        if settings["stain"]:
            # 1 is added and taken away, as black would have an infinite density
            passing = (ops.clip(changed, 0.0, 255.0) + 1.0) / 256.0
            changed = 256.0 * ops.power(passing, self._factors(images, settings["stain"])) - 1.0
            changed = ops.clip(changed, 0.0, 255.0)
        if settings["keep_black"]:
            lit = ops.max(images, axis=-1, keepdims=True) / _BLACK
            changed = images + ops.clip(lit, 0.0, 1.0) * (changed - images)
        return changed

    def _factors(self, images: Any, amount: float) -> Any:
        """Return factors about 1 for each channel of each image, (n, 1, 1, channels)."""
        shape = (ops.shape(images)[0], 1, 1, int(images.shape[-1]))
        return keras.random.uniform(shape, 1.0 - amount, 1.0 + amount, seed=self.generator)


def _check(settings: dict[str, Any]) -> None:
    """Refuse amounts that cannot be meant."""
    amounts = ("rotate", "zoom", "shift", "shear", "brightness", "contrast", "colour", "crop",
               "stain")  # fmt: skip
    for key in amounts:
        if settings[key] < 0:
            raise ValueError(f"Augment({key}={settings[key]}): give a maximum of 0 or more.")
    if settings["crop"] >= 1:
        raise ValueError(
            f"Augment(crop={settings['crop']}) is the largest share of the area that is cut away "
            f"and must be below 1: 0.2 keeps between 80 and 100 % of it."
        )
    for key in ("zoom", "contrast", "colour", "stain"):
        if settings[key] >= 1:
            raise ValueError(
                f"Augment({key}={settings[key]}) is a share and must be below 1: "
                f"0.1 draws factors between 0.9 and 1.1."
            )
    if settings["fill_mode"] not in ("constant", "nearest", "reflect", "wrap"):
        raise ValueError(
            f"Augment(fill_mode={settings['fill_mode']!r}): choose constant, nearest, "
            f"reflect or wrap."
        )
