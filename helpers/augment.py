"""Augmentation: one composed warp and one colour change, as a Keras layer.

Rotation, zoom, shift, shear and flips are multiplied into a single matrix, so a picture
is resampled once: five layers in a row would blur it five times. The same matrix moves
a mask, so picture and mask stay together. It runs on any backend, on the GPU if there
is one.
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="helpers")
class Augment(keras.layers.Layer):
    """A layer that warps and recolours each image of a batch at random while training.

    Outside training it returns its input unchanged. Every amount is a maximum: a value
    is drawn uniformly between minus and plus that amount, for each image anew.

    Args:
        rotate: degrees.
        zoom: share of the size; 0.1 draws factors between 0.9 and 1.1. Must stay below 1:
            a "zoom range of 2", as one source has it, would reach the factor −1 and turn
            pictures inside out.
        shift: share of width and height.
        shear: degrees (not radians, and not a share).
        flip_left_right, flip_up_down: mirror half of the images.
        quarter_turns: also turn by a random multiple of 90°, which needs square images.
        brightness: grey levels of 255, added to all channels alike.
        contrast: share; 0.2 draws factors between 0.8 and 1.2 about mid-grey.
        colour: share; each channel is multiplied by a factor of its own.
        fill_mode: what stands where the warped image has no pixels: ``"constant"``
            (black), ``"nearest"`` (the edge repeated), ``"reflect"`` or ``"wrap"``.
        seed: the layer's own random numbers start here.

    Raises:
        ValueError: an amount is negative, or zoom is 1 or more.

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
        **kwargs: Any,
    ) -> None:
        """Store the amounts after checking them."""
        super().__init__(**kwargs)
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

        The warp is about the image's centre. For an output pixel (x, y) measured from there,
        the source lies at ``A (x, y) + shift`` with ``A = zoom · rotation · shear · mirror``.
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
        cosine, sine = ops.cos(angle), ops.sin(angle)
        a, b = cosine * scale_x, (cosine * shear - sine) * scale_y
        c, d = sine * scale_x, (sine * shear + cosine) * scale_y
        shift_x = self._draw(count, settings["shift"] * width)
        shift_y = self._draw(count, settings["shift"] * height)
        centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
        offset_x = centre_x - a * centre_x - b * centre_y + shift_x
        offset_y = centre_y - c * centre_x - d * centre_y + shift_y
        zeros = ops.zeros((count,))
        return ops.stack([a, b, offset_x, c, d, offset_y, zeros, zeros], axis=1)

    def _recolour(self, images: Any) -> Any:
        """Return the images with brightness, contrast and channel factors drawn at random."""
        settings = self.settings
        if not (settings["brightness"] or settings["contrast"] or settings["colour"]):
            return images
        count, channels = ops.shape(images)[0], int(images.shape[-1])
        column = (-1, 1, 1, 1)
        contrast = ops.reshape(1.0 + self._draw(count, settings["contrast"]), column)
        brightness = ops.reshape(self._draw(count, settings["brightness"]), column)
        amount = settings["colour"]
        factors = keras.random.uniform(
            (count, 1, 1, channels), 1.0 - amount, 1.0 + amount, seed=self.generator
        )
        changed = (images - 127.5) * contrast + 127.5 + brightness
        return ops.clip(changed * factors, 0.0, 255.0)


def _check(settings: dict[str, Any]) -> None:
    """Refuse amounts that cannot be meant."""
    for key in ("rotate", "zoom", "shift", "shear", "brightness", "contrast", "colour"):
        if settings[key] < 0:
            raise ValueError(f"Augment({key}={settings[key]}): give a maximum of 0 or more.")
    for key in ("zoom", "contrast", "colour"):
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
