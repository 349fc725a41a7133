"""Trains tiny networks on one and more virtual processors, in a process of its own.

    python tests/train_here.py FILE 1 2

How many devices a backend sees is settled when it starts, so a test cannot do it in its own
process; nor does TensorFlow train on two devices and then on four in one. KERAS_BACKEND says which
backend. Into FILE (.npz) goes, for each training and number of devices, ``<name>/<devices>``: all
weights in one row, and ``<name>/<devices>/loss``: the losses of its epochs.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

MOST = 4  # devices
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={MOST}"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["JAX_PLATFORMS"] = "cpu"
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import keras  # noqa: E402
import numpy as np  # noqa: E402
from tiny_images import SIZE, small_index  # noqa: E402
from tiny_outlines import MaskBatches, tiny_unet  # noqa: E402

from helpers import backend, models, training  # noqa: E402
from helpers.augment import Augment  # noqa: E402
from helpers.loading import Batches  # noqa: E402

Trained = tuple[keras.Model, Any]


def main(file: Path, counts: list[int]) -> None:
    """Train everything on so many devices and write what came out."""
    if backend.name() == "tensorflow":
        import tensorflow

        (processor,) = tensorflow.config.list_physical_devices("CPU")
        virtual = [tensorflow.config.LogicalDeviceConfiguration()] * MOST
        tensorflow.config.set_logical_device_configuration(processor, virtual)
    index = small_index(Path(tempfile.mkdtemp(dir=file.parent)))
    # of 36 cells 24 are trained on: three batches of 8, which 2 and 4 devices share evenly
    train, valid = index.iloc[:24], index.iloc[24:]
    trainings: dict[str, Callable[[Any, Any], Trained]] = {
        "gradient descent": plain_steps,
        "outlines": outlines,
        "batch normalisation": batch_normalisation,
        "augmentation": augmentation,
    }
    found: dict[str, Any] = {}
    for devices in counts:
        os.environ["TUTORIALS_DEVICES"] = str(devices)
        # the rest is asked of two devices only: it takes its time
        for name in trainings if devices <= 2 else ["gradient descent"]:
            model, history = trainings[name](train, valid)
            weights = [np.ravel(weight) for weight in model.get_weights()]
            found[f"{name}/{devices}"] = np.concatenate(weights)
            found[f"{name}/{devices}/loss"] = history["loss"].to_numpy()
    np.savez(file, **found)


def plain_steps(train: Any, valid: Any) -> Trained:
    """Six steps as long as the gradient, which is clipped.

    A gradient that is not the sum of its shares, or is clipped share by share, shows at once;
    Adam would hide its length.
    """
    model = network()
    given = training._optimiser
    training._optimiser = lambda *_: keras.optimizers.SGD(0.5, clipnorm=0.05)
    history = fitted(model, train, valid)
    training._optimiser = given
    return model, history


def outlines(train: Any, valid: Any) -> Trained:
    """Masks that augmentation moves with their images.

    Each pixel is judged by itself, so that it does not matter how an image was turned.
    """
    model = tiny_unet()
    history = training.fit(
        model, MaskBatches(train, 8, shuffle=True), MaskBatches(valid, 4), epochs=2,
        learning_rate=0.1, schedule="cosine", moving_average=0.9,
        augment=Augment(quarter_turns=True, flip_left_right=True),
    )  # fmt: skip
    return model, history


def batch_normalisation(train: Any, valid: Any) -> Trained:
    """The means of a batch are taken, and so every step depends on whose images are together."""
    model = network(frozen=False)
    return model, fitted(model, train, valid)


def augmentation(train: Any, valid: Any) -> Trained:
    """How an image is turned is drawn at random."""
    model = network()
    return model, fitted(model, train, valid, augment=Augment(rotate=90, seed=3))


def network(frozen: bool = True) -> keras.Model:
    """Return a small network without dropout, its batch normalisation frozen or not."""
    model = models.small_cnn(image_size=SIZE, filters=(4, 8), dropout=0.0, seed=0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = not frozen
    return model


def fitted(model: keras.Model, train: Any, valid: Any, **options: Any) -> Any:
    """Return the history of two epochs."""
    return training.fit(
        model, Batches(train, 8, shuffle=True, seed=1), Batches(valid, 8), epochs=2,
        learning_rate=1e-2, schedule="constant", **options,
    )  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(count) for count in sys.argv[2:]])
