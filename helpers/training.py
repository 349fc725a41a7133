"""Training: compile and fit with callbacks, heads on frozen features, prediction.

Two ways to train stand here. ``fit`` runs epochs of gradient descent. ``fit_head`` puts a
logistic regression on features of a frozen backbone, which are computed once an image:
it has one best solution, found in seconds, without a learning rate.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from helpers import backend
from helpers.loading import Batches
from helpers.paths import atomic_file, data_home
from helpers.progress import progress

STRENGTHS = (0.0003, 0.001, 0.003, 0.01, 0.03)  # C of the logistic regression: small is simple


@dataclass(frozen=True)
class HeadFit:
    """A logistic regression on frozen features.

    Attributes:
        pipeline: standardisation and regression, fitted on training features.
        strength: the C that was chosen on the validation part.
        losses: validation log loss of each C that was tried.
    """

    pipeline: Pipeline
    strength: float
    losses: dict[float, float]

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Return probabilities (n, classes) of features (n, channels)."""
        probabilities: np.ndarray = self.pipeline.predict_proba(features)
        return probabilities


def fit(
    model: keras.Model,
    train: Batches,
    valid: Batches,
    *,
    epochs: int,
    learning_rate: float,
    augment: keras.layers.Layer | None = None,
    schedule: str = "plateau",
    weight_decay: float = 0.0,
    label_smoothing: float = 0.0,
    patience: int | None = None,
    checkpoint: Path | None = None,
    tensorboard: Path | None = None,
    loss: Any = None,
) -> pd.DataFrame:
    """Return the history of training a model, one row an epoch; the best weights stay in it.

    "Best" is the least loss on the validation part. One line an epoch is printed.

    Args:
        model: from images 0–255 to probabilities; it is trained in place.
        train: shuffled batches of the training part.
        valid: batches of the validation part, whose patients are not in ``train``.
        epochs: passes over the training images.
        learning_rate: the highest one.
        augment: a layer applied to training images only; it does not become part of the model.
        schedule: ``"plateau"`` (divided by 5 when the validation loss stalls for 3 epochs),
            ``"cosine"`` (a short rise, then down to zero along a cosine) or ``"constant"``.
        weight_decay: of AdamW.
        label_smoothing: share of each target that is spread over all classes.
        patience: epochs without a better validation loss before training stops early
            (None: a third of ``epochs``, at least 3; with the cosine schedule: never).
        checkpoint: a ``.keras`` file that always holds the best model so far.
        tensorboard: a folder for TensorBoard's log (``tensorboard --logdir …``).
        loss: a Keras loss, where cross-entropy is not meant.

    Returns:
        Columns ``epoch`` (from 1), ``loss``, ``accuracy``, ``val_loss``, ``val_accuracy``,
        ``learning_rate``.

    Raises:
        ValueError: unknown schedule, or no epoch.
        RuntimeError: the loss became infinite or no number.
        ModuleNotFoundError: a TensorBoard log is wanted and the package is not installed.
    """
    if epochs < 1:
        raise ValueError(f"epochs={epochs}: give 1 or more.")
    trainee = _with_augmentation(model, augment)
    trainee.compile(
        optimizer=keras.optimizers.AdamW(
            _rate(schedule, learning_rate, epochs * train.num_batches),
            weight_decay=weight_decay,
            clipnorm=1.0,
        ),
        loss=loss or keras.losses.CategoricalCrossentropy(label_smoothing=label_smoothing),
        metrics=["accuracy"],
        jit_compile=backend.jit_compile(),
    )
    callbacks: list[keras.callbacks.Callback] = [
        _OneLine(epochs),
        keras.callbacks.TerminateOnNaN(),
        keras.callbacks.EarlyStopping(
            monitor="val_loss",
            patience=_patience(patience, epochs, schedule),
            restore_best_weights=True,
        ),
    ]
    if schedule == "plateau":
        plateau = keras.callbacks.ReduceLROnPlateau(monitor="val_loss", factor=0.2, patience=3)
        callbacks.append(plateau)
    if checkpoint is not None:
        callbacks.append(_BestModel(model, checkpoint))
    if tensorboard is not None:
        if importlib.util.find_spec("tensorboard") is None:
            raise ModuleNotFoundError(
                "A TensorBoard log needs the package tensorboard: pip install tensorboard"
            )
        callbacks.append(keras.callbacks.TensorBoard(tensorboard))
    history = trainee.fit(
        train,
        validation_data=valid,
        epochs=epochs,
        verbose=0,
        callbacks=callbacks,
        # Batches shuffles from its own seed; Keras would shuffle the batches once more, from
        # Python's global random numbers, and no two runs would be alike
        shuffle=False,
    ).history
    table = pd.DataFrame(history)
    if not np.isfinite(table["loss"]).all():
        raise RuntimeError(
            f"The loss became infinite in epoch {len(table)}. Lower learning_rate "
            f"(it was {learning_rate})."
        )
    table.insert(0, "epoch", range(1, len(table) + 1))
    return table


def extract_features(
    extractor: keras.Model, index: pd.DataFrame, batch_size: int = 64
) -> np.ndarray:
    """Return the features of each image of an index, computed once and kept on disk.

    Args:
        extractor: a frozen model from images to features (n, channels).
        index: from ``load_index(…, image_size=…)``.
        batch_size: images computed at a time.

    Returns:
        float32 (n, channels), in the order of the index.
    """
    cache = Path(index.attrs["cache"])
    weights = hashlib.blake2b(digest_size=8)
    for array in extractor.get_weights():
        weights.update(array.tobytes())
    weights.update(index["row"].to_numpy().tobytes())
    path = data_home() / "cache" / f"{cache.stem}-{extractor.name}-{weights.hexdigest()}.npy"
    if not path.is_file():
        features = predict(extractor, Batches(index, batch_size))
        with atomic_file(path) as temporary, temporary.open("wb") as stream:
            np.save(stream, features)
    stored: np.ndarray = np.load(path)
    return stored


def fit_head(
    features: np.ndarray,
    labels: np.ndarray,
    valid_features: np.ndarray,
    valid_labels: np.ndarray,
    strengths: Sequence[float] = STRENGTHS,
) -> HeadFit:
    """Return a logistic regression on frozen features, its strength chosen on ``valid``.

    Args:
        features: (n, channels) of the training part.
        labels: (n,) int.
        valid_features: of the validation part.
        valid_labels: of the validation part.
        strengths: the values of C to try; the one with the least validation log loss wins.
    """
    fits, losses = {}, {}
    for strength in strengths:
        regression = LogisticRegression(C=strength, max_iter=2_000)
        fits[strength] = make_pipeline(StandardScaler(), regression).fit(features, labels)
        probabilities = fits[strength].predict_proba(valid_features)
        losses[strength] = float(
            log_loss(valid_labels, probabilities, labels=fits[strength].classes_)
        )
    best = min(losses, key=lambda strength: losses[strength])
    return HeadFit(fits[best], best, losses)


def attach_head(extractor: keras.Model, head: HeadFit, trainable: bool = False) -> keras.Model:
    """Return one complete model: the backbone and the regression as its last dense layer.

    Standardisation is folded into the dense layer: ``w·(x − m)/s + b`` is
    ``(w/s)·x + (b − w·m/s)``.

    Args:
        extractor: the model whose features the head was fitted on.
        head: from ``fit_head``.
        trainable: True thaws a copy of the backbone, for fine-tuning as a second stage. Its batch
            normalisation stays frozen: the head was fitted to features made with the stored
            means, and a batch's own means would spoil them from the first step on.
    """
    if trainable:  # a copy of its own: the frozen model must not move with this one
        copy = keras.models.clone_model(extractor)
        copy.set_weights(extractor.get_weights())
        extractor = copy
    scaler, regression = head.pipeline[0], head.pipeline[-1]
    kernel, bias = regression.coef_, regression.intercept_
    if len(kernel) == 1:  # two classes: scikit-learn keeps one row, a softmax wants two
        kernel, bias = np.concatenate([-kernel, kernel]) / 2, np.concatenate([-bias, bias]) / 2
    folded = kernel / scaler.scale_
    logits = keras.layers.Dense(len(kernel), name="logits")
    probabilities = keras.layers.Activation("softmax", dtype="float32", name="probabilities")
    model = keras.Model(extractor.input, probabilities(logits(extractor.output)),
                        name=extractor.name.replace("_features", "_classifier"))  # fmt: skip
    logits.set_weights([folded.T, bias - folded @ scaler.mean_])
    # layer by layer: a model that calls itself trainable does not pass the word on again
    for layer in extractor.layers:
        layer.trainable = trainable and not isinstance(layer, keras.layers.BatchNormalization)
    return model


def predict(model: keras.Model, batches: Batches) -> np.ndarray:
    """Return a model's output for every image, in the order of the index.

    Args:
        model: any model on images.
        batches: not shuffled.

    Raises:
        ValueError: the batches are shuffled: results would not belong to their rows.
    """
    if batches.shuffle:
        raise ValueError("Predict with Batches(…, shuffle=False): rows and results must match.")
    numbers = progress(range(batches.num_batches), "predicting")
    outputs = [model.predict_on_batch(batches[number][0]) for number in numbers]
    return np.concatenate(outputs).astype(np.float32)


class _OneLine(keras.callbacks.Callback):
    """Prints one line an epoch, without times: they would differ in every run."""

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self.epochs = epochs

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Print the epoch's four numbers, and add the learning rate to the history."""
        found = {} if logs is None else logs
        # Keras does so for the plateau schedule only
        found["learning_rate"] = float(self.model.optimizer.learning_rate)
        print(
            f"epoch {epoch + 1:2}/{self.epochs}  "
            f"train: loss {found['loss']:.3f}, accuracy {found['accuracy']:.3f}   "
            f"validation: loss {found['val_loss']:.3f}, accuracy {found['val_accuracy']:.3f}"
        )


class _BestModel(keras.callbacks.ModelCheckpoint):
    """Saves the model itself, not the augmentation that was put in front of it to train."""

    def __init__(self, bare: keras.Model, path: Path) -> None:
        super().__init__(str(path), monitor="val_loss", save_best_only=True)
        self.bare = bare

    def set_model(self, model: keras.Model) -> None:
        """Watch the bare model whatever Keras trains."""
        super().set_model(self.bare)


def _with_augmentation(model: keras.Model, augment: keras.layers.Layer | None) -> keras.Model:
    """Return a model that augments its input in training and shares all weights."""
    if augment is None:
        return model
    inputs = keras.Input(model.input_shape[1:], name="pixels")
    return keras.Model(inputs, model(augment(inputs)), name=f"{model.name}_in_training")


def _rate(schedule: str, highest: float, steps: int) -> Any:
    """Return a learning rate or its schedule over so many steps."""
    if schedule in ("plateau", "constant"):
        return highest
    if schedule != "cosine":
        raise ValueError(f"schedule={schedule!r}: choose 'plateau', 'cosine' or 'constant'.")
    rise = max(1, steps // 10)
    return keras.optimizers.schedules.CosineDecay(
        highest * 0.05, max(1, steps - rise), warmup_target=highest, warmup_steps=rise
    )


def _patience(patience: int | None, epochs: int, schedule: str) -> int:
    """Return how long training waits for a better validation loss."""
    if patience is not None:
        return patience
    return epochs if schedule == "cosine" else max(3, epochs // 3)
