"""Training: compile and fit with callbacks, heads on frozen features, prediction.

Two ways to train stand here. ``fit`` runs epochs of gradient descent. ``fit_head`` puts a
logistic regression on features of a frozen backbone, which are computed once an image:
it has one best solution, found in seconds, without a learning rate.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
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
from sklearn.utils.class_weight import compute_class_weight
from threadpoolctl import threadpool_limits

from helpers import backend, mapped, memory, parallel
from helpers.loading import Batches, ahead
from helpers.losses import DiceCrossEntropy, DiceScore
from helpers.paths import atomic_file, data_home, explained, turn
from helpers.progress import progress
from helpers.trainee import BestModel, OneLine, moved_with, with_augmentation

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

    def predict(self, features: np.ndarray, rows: mapped.Rows | None = None) -> np.ndarray:
        """Return the probabilities (k, classes) of features (n, channels).

        Args:
            features: may be mapped from disk: they are read in blocks.
            rows: truths (n,), or the places of k rows; None: all n.
        """
        places = mapped.numbers(rows, len(features))
        found = [self.pipeline.predict_proba(part) for part in mapped.blocks(features, places)]
        classes = len(self.pipeline.classes_)
        return np.concatenate(found) if found else np.empty((0, classes))


def fit(
    model: keras.Model,
    train: Batches,
    valid: Batches | None,
    *,
    epochs: int,
    learning_rate: float,
    augment: keras.layers.Layer | None = None,
    schedule: str = "plateau",
    optimiser: str = "adamw",
    weight_decay: float = 0.0,
    label_smoothing: float = 0.0,
    class_weight: Mapping[int, float] | None = None,
    monitor: str = "val_loss",
    early_stopping: bool = True,
    patience: int | None = None,
    plateau_patience: int = 3,
    plateau_factor: float = 0.2,
    least_rate: float = 0.0,
    moving_average: float | None = None,
    checkpoint: Path | None = None,
    tensorboard: Path | None = None,
    loss: Any = None,
) -> pd.DataFrame:
    """Return the history of training a model, one row an epoch; the best weights stay in it.

    "Best" is the least loss on the validation part, or what ``monitor`` says. One line an epoch
    is printed. A model whose output is a map (of ``models.unet``) is trained for segmentation:
    on ``Batches(…, masks=True)``, with Dice instead of accuracy, and ``augment`` moves each mask
    with its image.

    Args:
        model: from images 0–255 to probabilities; it is trained in place, and stays uncompiled,
            so that a saved file holds the network and nothing of its training.
        train: shuffled batches of the training part.
        valid: batches of the validation part, whose patients are not in ``train``. None trains all
            epochs and keeps the last weights: for a recipe that was chosen already, and is now
            given every patient but those of the test.
        epochs: passes over the training images.
        learning_rate: the highest one.
        augment: a layer applied to training images only; it does not become part of the model.
        schedule: ``"plateau"`` (multiplied by ``plateau_factor`` when what is monitored stalls for
            ``plateau_patience`` epochs), ``"cosine"`` (a rise from a twentieth over the first
            tenth of all steps, then down to zero along a cosine) or ``"constant"``.
        optimiser: ``"adamw"`` (with gradients clipped to a length of 1) or ``"adam"`` (plain, as
            the source articles have it).
        weight_decay: of AdamW.
        label_smoothing: share of each target that is spread over all classes.
        class_weight: how much an image of each label counts in the training loss; the
            validation loss stays unweighted.
        monitor: ``"val_loss"``, ``"val_accuracy"``, or for segmentation ``"val_dice"``: which epoch
            is best, and when the plateau schedule and early stopping act.
        early_stopping: False trains all epochs; the best weights are kept all the same.
        patience: epochs without a better one before training stops early
            (None: a third of ``epochs``, at least 3; with the cosine schedule: never).
        plateau_patience: epochs of stalling after which the plateau schedule lowers the rate.
        plateau_factor: what it multiplies the rate by then.
        least_rate: where it ends.
        moving_average: how much of the average of past weights survives a step, such as 0.99
            (None: no average). Validated, kept and saved are the averaged weights then, which
            jump less from epoch to epoch. An epoch should be longer than 1 / (1 − this) steps,
            or the average still remembers the first weights.
        checkpoint: a ``.keras`` file that always holds the best model so far.
        tensorboard: a folder for TensorBoard's log (``tensorboard --logdir …``).
        loss: a Keras loss, where cross-entropy (for segmentation ``losses.DiceCrossEntropy``)
            is not meant.

    Returns:
        Columns ``epoch`` (from 1), ``loss``, ``accuracy``, ``val_loss``, ``val_accuracy``,
        ``learning_rate``; for segmentation ``dice`` and ``val_dice`` instead of the accuracies;
        without ``valid`` none that begins with ``val_``.

    Raises:
        ValueError: unknown schedule, optimiser or monitor, no epoch, or settings that
            contradict one another.
        RuntimeError: the loss became infinite or no number.
        DeviceMemoryError: the memory of what computes is full; says what to lower.
        ModuleNotFoundError: a TensorBoard log is wanted and the package is not installed.
    """
    outlines = len(model.output_shape) == 4
    batch_size = train.batch_size
    score = "dice" if outlines else "accuracy"
    if epochs < 1:
        raise ValueError(f"epochs={epochs}: give 1 or more.")
    if monitor not in ("val_loss", f"val_{score}"):
        raise ValueError(f"monitor={monitor!r}: choose 'val_loss' or 'val_{score}'.")
    if valid is None and schedule == "plateau":
        raise ValueError(
            "schedule='plateau' waits for the validation loss, and there is no validation part: "
            "choose 'cosine' or 'constant'."
        )
    if outlines and (class_weight is not None or label_smoothing):
        raise ValueError(
            "class_weight and label_smoothing are for labels; a segmentation has masks. What a "
            "missed pixel weighs is set by loss=losses.FocalTversky(alpha=…)."
        )
    if class_weight is not None:
        _check_weights(class_weight, train.labels)
    train, valid = parallel.even(train), None if valid is None else parallel.even(valid)
    rate = _rate(schedule, learning_rate, epochs * train.num_batches)
    # what is to lie on several devices is made in here
    with parallel.spread(model, augment) as (spread_model, spread_augment):
        chosen = _optimiser(optimiser, rate, weight_decay, moving_average)
        backend.clip_together(chosen)
        metric: Any = keras.metrics.CategoricalAccuracy(name=score)
        if outlines:
            loss, metric = loss or DiceCrossEntropy(), DiceScore()
            if augment is not None:
                train, valid, loss, metric = moved_with(train, valid, loss)
        trainee = with_augmentation(spread_model, spread_augment)
        trainee.compile(
            optimizer=chosen,
            loss=loss or keras.losses.CategoricalCrossentropy(label_smoothing=label_smoothing),
            metrics=[metric],
            jit_compile=backend.jit_compile(),
        )
        # Variables that are made while the step is traced make TensorFlow trace it a second time,
        # which takes seconds for a deep network. (So the metric is no mere name either.)
        # The trainee's optimiser, not ours: with float16 it is one more, which scales the loss.
        trainee.optimizer.build(trainee.trainable_variables)
        callbacks = [OneLine(epochs, score), keras.callbacks.TerminateOnNaN()]
        if moving_average is not None:
            # before those that keep weights: at the end of an epoch they find the average in place
            callbacks.append(keras.callbacks.SwapEMAWeights(swap_on_epoch=True))
        watched = {"monitor": monitor, "mode": "min" if monitor == "val_loss" else "max"}
        if valid is not None:
            waits = _patience(patience, epochs, schedule) if early_stopping else epochs
            callbacks.append(
                keras.callbacks.EarlyStopping(**watched, patience=waits, restore_best_weights=True)
            )
        if schedule == "plateau":
            plateau = {"factor": plateau_factor, "patience": plateau_patience, "min_lr": least_rate}
            callbacks.append(keras.callbacks.ReduceLROnPlateau(**watched, **plateau))
        if checkpoint is not None:
            best_only = valid is not None
            callbacks.append(BestModel(spread_model, checkpoint, best_only=best_only, **watched))
        if tensorboard is not None:
            callbacks.append(_tensorboard(tensorboard))
        read, next_order = backend.prefetched(train)
        with memory.explained(batch_size, int(model.input_shape[1]), backend.device()):
            history = trainee.fit(
                read,
                validation_data=None if valid is None else backend.prefetched(valid)[0],
                epochs=epochs,
                verbose=0,
                callbacks=next_order + callbacks,
                class_weight=None if class_weight is None else dict(class_weight),
                # Batches shuffles from its own seed; Keras would shuffle the batches once more,
                # from Python's global random numbers, and no two runs would be alike
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

    They are written batch by batch and mapped into memory, as the images are: a million images'
    features are 5 GB.

    Args:
        extractor: a frozen model from images to features (n, channels).
        index: from ``load_index(…, image_size=…)``.
        batch_size: images computed at a time.

    Returns:
        float32 (n, channels), in the order of the index; a read-only memory map.

    Raises:
        OSError: the disk is full, or the cache's folder cannot be written; says what to do.
    """
    cache = Path(index.attrs["cache"])
    weights = hashlib.blake2b(digest_size=8)
    for array in extractor.get_weights():
        weights.update(array.tobytes())
    weights.update(index["row"].to_numpy().tobytes())
    if extractor.compute_dtype != "float32":  # what 16 bits gave is not what another run wants
        weights.update(extractor.compute_dtype.encode())
    path = data_home() / "cache" / f"{cache.stem}-{extractor.name}-{weights.hexdigest()}.npy"
    shape = (len(index), *extractor.output_shape[1:])
    stored = _stored_features(path, shape)
    if stored is not None:
        return stored
    with turn(path):
        stored = _stored_features(path, shape)  # another process may have computed them meanwhile
        if stored is None:
            _write_features(path, shape, extractor, Batches(index, batch_size))
            stored = np.load(path, mmap_mode="r")
    return stored


def fit_head(
    features: np.ndarray,
    labels: Sequence[int] | np.ndarray | pd.Series,
    valid_features: np.ndarray,
    valid_labels: Sequence[int] | np.ndarray | pd.Series,
    strengths: Sequence[float] = STRENGTHS,
    class_weight: Mapping[int, float] | str | None = None,
) -> HeadFit:
    """Return a logistic regression on features, its strength chosen on ``valid``.

    With more than two classes it is multinomial: one softmax over all of them.

    Args:
        features: (n, channels) of the training part.
        labels: (n,) int, counted from 0.
        valid_features: of the validation part.
        valid_labels: of the validation part.
        strengths: the values of C to try; the one with the least validation log loss wins.
        class_weight: how much an image of each label counts, in training and in the validation
            loss alike; ``"balanced"`` weighs each class by the inverse of its share of the
            training part (None: each image counts once).

    Raises:
        ValueError: a class has no image in the training part, so that nothing can be learnt
            of it, or no weight.
        OSError: the disk has no room for the standardised features; says what to do.
    """
    return _fitted(
        _Part(features, np.arange(len(features)), np.asarray(labels)),
        _Part(valid_features, np.arange(len(valid_features)), np.asarray(valid_labels)),
        strengths,
        class_weight,
    )


def fit_frozen(
    features: np.ndarray,
    index: pd.DataFrame,
    split: pd.DataFrame | None = None,
    strengths: Sequence[float] = STRENGTHS,
    class_weight: Mapping[int, float] | str | None = None,
) -> HeadFit:
    """Return the head that a split's training part gives, on the features of all images.

    It is ``fit_head`` for features that may be larger than the memory: ``features[learn]`` would
    load them. An image is known again by its ``row`` in the image cache, so the split may have
    its rows in another order, or lack some.

    Args:
        features: (n, channels), from ``extract_features(extractor, index)``.
        index: that very index.
        split: ``row``, ``label`` and ``split`` of images of the index; None: the index has the
            column ``split`` itself.
        strengths: as in ``fit_head``.
        class_weight: as in ``fit_head``.

    Raises:
        ValueError: as ``fit_head``; the features are not those of the index, an image of the
            split is not in it, or a part is empty.
        OSError: as ``fit_head``.
    """
    split = index if split is None else split
    places = _places(features, index, split)

    def part(name: str) -> _Part:
        chosen = (split["split"] == name).to_numpy()
        if not chosen.any():
            raise ValueError(f"The split has no image in the part {name!r}.")
        return _Part(features, places[chosen], split["label"].to_numpy()[chosen])

    return _fitted(part("train"), part("valid"), strengths, class_weight)


def _places(features: np.ndarray, index: pd.DataFrame, split: pd.DataFrame) -> np.ndarray:
    """Return where the features of each image of a split stand, int (k,)."""
    if len(features) != len(index):
        raise ValueError(
            f"{len(features):,} rows of features cannot be those of {len(index):,} images: compute "
            f"them from this index."
        )
    if "split" not in split:
        raise ValueError("There is no column 'split': split the index first (helpers.splits).")
    place = pd.Index(index["row"]).get_indexer(pd.Index(split["row"]))
    if (place < 0).any():
        raise ValueError(
            f"{(place < 0).sum():,} images of the split are not in the index that the features "
            f"were computed from."
        )
    return np.asarray(place)


@dataclass(frozen=True)
class _Part:
    """Rows of features and their labels, read in blocks."""

    features: np.ndarray
    rows: np.ndarray
    labels: np.ndarray

    def blocks(self) -> Iterator[np.ndarray]:
        return mapped.blocks(self.features, self.rows)


def _fitted(
    train: _Part,
    valid: _Part,
    strengths: Sequence[float],
    class_weight: Mapping[int, float] | str | None,
) -> HeadFit:
    """Return the fit: memory holds a block of features, and what is standardised is mapped."""
    labels = train.labels
    missing = set(range(int(max(labels.max(), valid.labels.max())) + 1)) - set(labels.tolist())
    if missing:
        raise ValueError(
            f"No image of label {', '.join(map(str, sorted(missing)))} is in the training part. "
            f"Split again, with more patients of that class in training."
        )
    weights = _class_weights(class_weight, labels)
    counts = [weights[label] for label in valid.labels.tolist()] if weights else None
    scaler = StandardScaler()
    for block in train.blocks():
        scaler.partial_fit(block)
    ours, theirs = (_standardised(scaler, part) for part in (train, valid))
    fits, losses = {}, {}
    # One thread: the steps are so small that two threads wait for one another and take ten times
    # as long; with 12,000 images one thread is still as fast.
    with threadpool_limits(limits=1):
        for strength in strengths:
            fits[strength] = LogisticRegression(C=strength, max_iter=2_000, class_weight=weights)
            probabilities = fits[strength].fit(ours, labels).predict_proba(theirs)
            known = fits[strength].classes_
            losses[strength] = float(
                log_loss(valid.labels, probabilities, labels=known, sample_weight=counts)
            )
    best = min(losses, key=lambda strength: losses[strength])
    return HeadFit(make_pipeline(scaler, fits[best]), best, losses)


def _standardised(scaler: StandardScaler, part: _Part) -> np.ndarray:
    """Return a part's standardised features, float32 or float64 as they are, mapped from disk."""
    kind = part.features.dtype if part.features.dtype in (np.float32, np.float64) else np.float64
    shape = (len(part.rows), part.features.shape[1])
    return mapped.on_disk((scaler.transform(block) for block in part.blocks()), shape, kind)


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
    logits = keras.layers.Dense(len(kernel), dtype="float32", name="logits")
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

    No more than the result and one batch are in memory at a time, and no maps but one batch's.

    Args:
        model: any model on images.
        batches: not shuffled.

    Returns:
        float32 (n, classes); of a model that answers with a map (``models.unet``) float16
        (n, height, width), exact to 0.0005, mapped from a file of the cache that is gone with
        the array: a thousand maps of 128 pixels are 33 MB.

    Raises:
        ValueError: the batches are shuffled: results would not belong to their rows.
        DeviceMemoryError: the memory of what computes is full; says what to lower.
        OSError: the disk has no room for the maps; says what to do.
    """
    if batches.shuffle:
        raise ValueError("Predict with Batches(…, shuffle=False): rows and results must match.")
    outputs, count = _outputs(model, batches), len(batches.rows)
    if len(model.output_shape) == 4:
        shape = (count, *model.output_shape[1:3])
        return mapped.on_disk((output[..., 0] for output in outputs), shape, np.float16)
    found = np.empty((count, *model.output_shape[1:]), np.float32)
    filled = 0
    for output in outputs:
        found[filled : filled + len(output)] = output
        filled += len(output)
    return found


def _outputs(model: keras.Model, batches: Batches) -> Iterator[np.ndarray]:
    """Yield a model's output for each batch; the next one is read meanwhile."""
    with memory.explained(batches.batch_size, int(model.input_shape[1]), backend.device()):
        answer = backend.answering(model, batches.batch_size)
        for images, _ in progress(ahead(batches), "predicting", total=batches.num_batches):
            yield answer(images)


def _tensorboard(folder: Path) -> keras.callbacks.Callback:
    """Return the callback that writes TensorBoard's log."""
    if importlib.util.find_spec("tensorboard") is None:
        raise ModuleNotFoundError(
            "A TensorBoard log needs the package tensorboard: pip install tensorboard"
        )
    return keras.callbacks.TensorBoard(folder)


def _optimiser(
    name: str, rate: Any, weight_decay: float, moving_average: float | None
) -> keras.optimizers.Optimizer:
    """Return the optimiser of a name."""
    if name not in ("adamw", "adam"):
        raise ValueError(f"optimiser={name!r}: choose 'adamw' or 'adam'.")
    average: dict[str, Any] = {}
    if moving_average is not None:
        if not 0 < moving_average < 1:
            raise ValueError(
                f"moving_average={moving_average}: give a share between 0 and 1, such as 0.99."
            )
        average = {"use_ema": True, "ema_momentum": moving_average}
    if name == "adamw":
        return keras.optimizers.AdamW(rate, weight_decay=weight_decay, clipnorm=1.0, **average)
    if weight_decay:
        raise ValueError(f"weight_decay={weight_decay} goes with optimiser='adamw' only.")
    return keras.optimizers.Adam(rate, **average)


def _check_weights(class_weight: Mapping[int, float], labels: np.ndarray) -> None:
    """Refuse class weights that leave a label out, or that are no weights."""
    missing = sorted(set(np.unique(labels).tolist()) - set(class_weight))
    if missing:
        raise ValueError(
            f"class_weight has no weight for label {', '.join(map(str, missing))}; "
            f"it has {', '.join(map(str, sorted(class_weight)))}."
        )
    if min(class_weight.values()) < 0 or max(class_weight.values()) == 0:
        raise ValueError(f"class_weight={dict(class_weight)}: give weights of 0 or more.")


def _class_weights(
    class_weight: Mapping[int, float] | str | None, labels: np.ndarray
) -> dict[int, float] | None:
    """Return the weight of each label as numbers, None where every image counts once."""
    if class_weight is None:
        return None
    known = np.unique(labels)
    if isinstance(class_weight, str):
        weights = compute_class_weight(class_weight, classes=known, y=labels)
        return dict(zip(known.tolist(), weights.tolist(), strict=True))
    _check_weights(class_weight, labels)
    return dict(class_weight)


def _write_features(
    path: Path, shape: tuple[int, ...], extractor: keras.Model, batches: Batches
) -> None:
    """Compute features and write them, batch by batch."""
    kind = np.lib.format.dtype_to_descr(np.dtype(np.float32))
    header = {"descr": kind, "fortran_order": False, "shape": shape}
    try:
        with atomic_file(path) as temporary, temporary.open("wb") as stream:
            np.lib.format.write_array_header_1_0(stream, header)
            for found in _outputs(extractor, batches):
                stream.write(found.astype(np.float32).tobytes())
    except OSError as error:
        what = f"The image cache in {path.parent}"
        raise explained(error, what, 4 * int(np.prod(shape))) from error


def _stored_features(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return features from the cache; None where there are none, or damaged ones."""
    try:
        stored: np.ndarray = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):  # missing, cut short, empty
        return None
    return stored if stored.shape == shape and stored.dtype == np.float32 else None


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
