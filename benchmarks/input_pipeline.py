"""How fast images reach a network: our input pipeline beside that of Keras.

    python -m benchmarks.input_pipeline            prints one table (make bench)
    python -m benchmarks.input_pipeline --readme   also puts it into README.md

Both pipelines read the same files, deliver batches of the same size in a new order each
epoch, and are driven by the same ``model.fit``: only what happens between the file and the
training step differs. Everything is measured several times, in another order each time, and
two figures are divided only within one repetition: a busy machine slows both.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.measuring import (
    CHECKOUT,
    data_home,
    engine,
    machine,
    percent,
    positive,
    rate,
    spread,
    write_block,
)
from helpers.progress import progress

MARK = "benchmark"  # where the table stands in the README
DATASET = "malaria"
BATCH_SIZE = 32  # images
FILTERS = (16, 32, 64)  # of the network whose waiting is measured
BACKBONE = "efficientnet_lite0"  # of the network that the notebooks fine-tune
TUNED_IMAGES = 1_600  # an epoch of fine-tuning is long: so many images will do
LATER_EPOCHS = 4  # an epoch of a small sample is short; these are timed as one
WAITING_TARGET = 0.05

# What the notebook's augmentation does to a cell, as far as Keras has layers for it.
ROTATE, ZOOM, SHIFT, BRIGHTNESS, CONTRAST = 180.0, 0.1, 0.05, 15.0, 0.15


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        title: what is measured.
        ours: one value a repetition: images a second, or a share between 0 and 1.
        keras: the same for ``keras.utils.image_dataset_from_directory``.
        cached: the same for that with ``.cache()`` (all images in memory); empty where the
            question makes no sense.
        unit: ``"images/s"`` or ``"share"``.
    """

    title: str
    ours: tuple[float, ...]
    keras: tuple[float, ...]
    cached: tuple[float, ...] = ()
    unit: str = "images/s"


@dataclass(frozen=True)
class Epochs:
    """What one call of ``fit`` took.

    Attributes:
        ends: clock at the start of training and at the end of each epoch, seconds.
        busy: seconds spent inside training steps, one value an epoch.
        waited: seconds from asking for a batch to having it, and from the end of an epoch to
            the request for the next one's first batch; one value an epoch.
    """

    ends: tuple[float, ...]
    busy: tuple[float, ...]
    waited: tuple[float, ...]

    def rate(self, images: int) -> float:
        """Return images a second over all epochs but the first."""
        return images * (len(self.busy) - 1) / (self.ends[-1] - self.ends[1])

    def waiting(self) -> float:
        """Return the share of all epochs but the first that passed in waiting for data."""
        return sum(self.waited[1:]) / (self.ends[-1] - self.ends[1])

    def idle(self) -> float:
        """Return the share of all epochs but the first in which no training step ran.

        An upper bound of ``waiting``: Keras' own work between two steps is counted with it.
        """
        return 1.0 - sum(self.busy[1:]) / (self.ends[-1] - self.ends[1])


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and, where asked for, write it into README.md; return the exit code."""
    wanted = _parser().parse_args(arguments)
    readme = CHECKOUT / "README.md"
    try:
        if wanted.readme:
            write_block(readme, None, MARK)  # a missing place is noticed now, not minutes later
        rows, images = measure(
            wanted.data_dir,
            images=wanted.images,
            image_size=wanted.image_size,
            repeats=wanted.repeats,
        )
        text = table(rows) + "\n\n" + conditions(images, wanted)
        print(text)
        if wanted.readme:
            changed = write_block(readme, text, MARK)
            print(f"\n{readme.name}: {'table written' if changed else 'unchanged'}")
    except (OSError, ValueError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    return 0


def measure(
    data_dir: Path | None, *, images: int | None, image_size: int, repeats: int
) -> tuple[list[Row], int]:
    """Return the rows of the table, and the number of images they were measured with.

    Args:
        data_dir: a folder as ``load_index`` takes it; None draws the synthetic sample.
        images: no more than so many; None takes all.
        image_size: height and width of a delivered image, pixels.
        repeats: how often everything is measured.

    Raises:
        FileNotFoundError, ValueError: see ``load_index``.
    """
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        scratch = Path(name)
        folder, count = _good_files(data_dir, images, image_size, scratch)
        measures = _Measures(folder, count, image_size, scratch)
        measures.warm_up()
        tasks = list(measures.tasks().items())
        values: dict[str, list[dict[str, float]]] = {key: [] for key, _ in tasks}
        order = [task for turn in range(repeats) for task in _turned(tasks, turn)]
        for key, task in progress(order, "measuring"):
            values[key].append(task())
    return _rows(values), count


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table: medians, ranges, and ratios within a repetition."""
    lines = [
        "| | `helpers` | `image_dataset_from_directory` | … with `.cache()` in memory "
        "| `helpers` : Keras |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        show = rate if row.unit == "images/s" else percent
        ratio = "—"
        if row.unit == "images/s":
            ratio = spread([a / b for a, b in zip(row.ours, row.keras, strict=True)], _times)
        cells = [spread(values, show) for values in (row.ours, row.keras, row.cached)]
        lines.append("| " + " | ".join([row.title, *cells, ratio]) + " |")
    return "\n".join(lines)


def conditions(images: int, wanted: argparse.Namespace) -> str:
    """Return the lines below the table: how and on what machine it was measured."""
    data = "of the synthetic sample" if wanted.data_dir is None else "of a folder of real images"
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("keras", "numpy"))
    times = "once" if wanted.repeats == 1 else f"{wanted.repeats} times"
    return (
        f"Images a second, median (range): {images:,} cells {data}, {wanted.image_size} px, "
        f"batches of {BATCH_SIZE}, shuffled, the files in the page cache; all measured {times}, "
        f"in changing order, both through `model.fit`. The ratio is taken within a repetition. "
        f"The first epoch of `helpers` "
        f"includes building the cache, which no later run has to do again. "
        f"`helpers` keeps each cell's shape and antialiases; Keras runs with its defaults, which "
        f"stretch the cell to a square and do not antialias. Augmentation: rotation, zoom, shift, "
        f"mirror, brightness, contrast; one warp against six layers. The small network is "
        f"`models.small_cnn(filters={FILTERS})`, and its wait counts what lies between two epochs; "
        f"the aim is at most {100 * WAITING_TARGET:.0f} %. Most of Keras' share is TensorFlow's "
        f"own tuning, which now and then stops for seconds between two epochs: switched off, "
        f"Keras waits no longer than `helpers` does. The row after it also counts what "
        f"Keras itself does between two steps; the last one is about the network that the "
        f"notebooks fine-tune, on {min(TUNED_IMAGES, images):,} cells.\n\n"
        f"Measured on {machine()}; {engine('tensorflow')}, {versions}. Measured again with "
        f"`.venv/bin/python -m benchmarks.input_pipeline --data-dir <folder> --images {images} "
        f"--readme`; `make bench` takes the synthetic cells."
    )


class _Measures:
    """The single measurements; models are built and traced once, so none pays for it."""

    def __init__(self, folder: Path, count: int, image_size: int, scratch: Path) -> None:
        """Build the consumers; Keras is imported here, which takes ten seconds."""
        import keras

        from helpers import backend, models

        if backend.name() != "tensorflow":
            raise ValueError(
                "image_dataset_from_directory is measured as TensorFlow runs it: set the "
                "environment variable KERAS_BACKEND to tensorflow."
            )

        keras.config.disable_interactive_logging()
        self.keras = keras
        self.folder, self.count, self.image_size = folder, count, image_size
        self.scratch = scratch
        network = models.small_cnn(image_size=image_size, filters=FILTERS)
        self.plain = _consumer(self._through(None))
        self.our_augmentation = _consumer(self._through(_our_augmentation()))
        self.their_augmentation = _consumer(self._through(_their_augmentation(keras)))
        self.network = _consumer(network, train=True)
        self.tuned = _consumer(models.transfer(BACKBONE, image_size=image_size), train=True)
        # One cache for the later epochs; each first epoch builds one of its own.
        with data_home(scratch / "kept"):
            self.index = self._load_index()

    def warm_up(self) -> None:
        """Trace every graph for every kind of input that it will see."""
        for model in (self.plain, self.our_augmentation, self.network):
            _fit(model, self._ours(self.index), epochs=2)
        for model in (self.plain, self.their_augmentation, self.network):
            _fit(model, self._theirs(), epochs=2)

    def tasks(self) -> dict[str, Callable[[], dict[str, float]]]:
        """Return each measurement by its name; one gives a value for each row it belongs to."""
        return {
            "ours: first": self._first_of_ours,
            "keras: first": self._first_of_theirs,
            "ours: later": lambda: self._later(self._ours(self.index)),
            "keras: later": lambda: self._later(self._theirs()),
            "cached: later": lambda: self._later(self._theirs(cached=True)),
            "ours: augmented": lambda: self._augmented(
                self.our_augmentation, self._ours(self.index)
            ),
            "keras: augmented": lambda: self._augmented(self.their_augmentation, self._theirs()),
            "cached: augmented": lambda: self._augmented(
                self.their_augmentation, self._theirs(cached=True)
            ),
            "ours: waiting": lambda: self._waiting(self._ours(self.index)),
            "keras: waiting": lambda: self._waiting(self._theirs()),
            "cached: waiting": lambda: self._waiting(self._theirs(cached=True)),
            "ours: tuned": self._waiting_of_the_tuned,
        }

    def _first_of_ours(self) -> dict[str, float]:
        """Images a second from listing the folder to the end of the first epoch."""
        with tempfile.TemporaryDirectory(dir=self.scratch) as name, data_home(Path(name)):
            start = time.perf_counter()
            index = self._load_index()
            end = _fit(self.plain, self._ours(index), epochs=1).ends[-1]
        return {"first": self.count / (end - start)}

    def _first_of_theirs(self) -> dict[str, float]:
        start = time.perf_counter()
        end = _fit(self.plain, self._theirs(), epochs=1).ends[-1]
        return {"first": self.count / (end - start)}

    def _later(self, source: tuple[Any, list[Any]]) -> dict[str, float]:
        return {"later": _fit(self.plain, source, epochs=1 + LATER_EPOCHS).rate(self.count)}

    def _augmented(self, model: Any, source: tuple[Any, list[Any]]) -> dict[str, float]:
        return {"augmented": _fit(model, source, epochs=1 + LATER_EPOCHS).rate(self.count)}

    def _waiting(self, source: tuple[Any, list[Any]]) -> dict[str, float]:
        epochs = _fit(self.network, source, epochs=1 + LATER_EPOCHS)
        return {"waiting": epochs.waiting(), "idle": epochs.idle()}

    def _waiting_of_the_tuned(self) -> dict[str, float]:
        few = self.index.sample(min(TUNED_IMAGES, self.count), random_state=0)
        return {"tuned": _fit(self.tuned, self._ours(few), epochs=2).waiting()}

    def _load_index(self) -> Any:
        from helpers.index import load_index

        return load_index(DATASET, self.folder, image_size=self.image_size)

    def _ours(self, index: Any) -> tuple[Any, list[Any]]:
        """Return what ``training.fit`` gives to Keras, and the callbacks that belong to it."""
        from helpers import backend
        from helpers.loading import Batches

        return backend.prefetched(Batches(index, BATCH_SIZE, shuffle=True))

    def _theirs(self, cached: bool = False) -> tuple[Any, list[Any]]:
        data = self.keras.utils.image_dataset_from_directory(
            str(self.folder),
            label_mode="categorical",
            image_size=(self.image_size, self.image_size),
            batch_size=BATCH_SIZE,
            shuffle=True,
            seed=0,
            verbose=False,
        )
        return (data.cache().prefetch(2) if cached else data), []

    def _through(self, layer: Any) -> Any:
        """Return a model that does nothing with an image but what the layer does in training."""
        inputs = self.keras.Input((self.image_size, self.image_size, 3), name="pixels")
        outputs = inputs if layer is None else layer(inputs, training=True)
        return self.keras.Model(inputs, outputs)


def _our_augmentation() -> Any:
    from helpers.augment import Augment

    return Augment(
        rotate=ROTATE,
        zoom=ZOOM,
        shift=SHIFT,
        flip_left_right=True,
        brightness=BRIGHTNESS,
        contrast=CONTRAST,
    )


def _their_augmentation(keras: Any) -> Any:
    layers = keras.layers
    black = {"fill_mode": "constant", "fill_value": 0.0}
    return keras.Sequential(
        [
            layers.RandomFlip("horizontal"),
            layers.RandomRotation(ROTATE / 360, **black),
            layers.RandomZoom(ZOOM, **black),
            layers.RandomTranslation(SHIFT, SHIFT, **black),
            layers.RandomBrightness(BRIGHTNESS / 255, value_range=(0, 255)),
            layers.RandomContrast(CONTRAST, value_range=(0, 255)),
        ]
    )


def _consumer(model: Any, train: bool = False) -> Any:
    """Return the model, compiled so that ``fit`` tells waiting from computing.

    Keras fetches a batch inside its compiled training function, where no callback can see
    it. Ours fetches first, then computes; the iterator is the one that ``fit`` made. Where
    there is nothing to train, a step only computes the model's output.
    """
    import tensorflow

    model.compile("adam", loss="categorical_crossentropy" if train else None, jit_compile=False)
    clock = _Clock()

    def compute(batch: Any) -> Any:
        if train:
            return model.train_step(batch)
        # Reduced to one number, so that the graph computes every pixel and nothing is copied.
        images = tensorflow.cast(model(batch[0], training=True), "float32")
        return {"loss": tensorflow.reduce_mean(images)}

    compiled = tensorflow.function(compute, reduce_retracing=True)

    def step(iterator: Any) -> Any:
        asked = time.perf_counter()
        batch = next(iterator)
        start = time.perf_counter()
        logs = compiled(batch)
        for value in logs.values():
            float(value)  # waits for the result where the device computes in the background
        clock.note(asked, start, time.perf_counter())
        return logs

    model.train_function = step
    model.clock = clock
    return model


class _Clock:
    """Sums up what the steps of one call of ``fit`` took, epoch by epoch."""

    def __init__(self) -> None:
        self.start()

    def start(self, logs: Any = None) -> None:
        """Forget everything; training begins now."""
        self.ends = [time.perf_counter()]
        self.busy: list[float] = []
        self.waited: list[float] = []
        self.fresh = True  # no step of this epoch yet

    def note(self, asked: float, start: float, end: float) -> None:
        """Add one step: when its batch was asked for, when it came, when it was used up."""
        if self.fresh:  # the wait for an epoch's first batch began when the last epoch ended
            self.busy.append(0.0)
            self.waited.append(0.0)
            asked, self.fresh = self.ends[-1], False
        self.waited[-1] += start - asked
        self.busy[-1] += end - start

    def end_epoch(self, epoch: int = 0, logs: Any = None) -> None:
        """Close an epoch."""
        self.ends.append(time.perf_counter())
        self.fresh = True


def _fit(model: Any, source: tuple[Any, list[Any]], *, epochs: int) -> Epochs:
    """Return the clock of so many epochs over data that come with callbacks of their own."""
    import keras

    data, callbacks = source
    clock: _Clock = model.clock
    watch = keras.callbacks.LambdaCallback(on_train_begin=clock.start, on_epoch_end=clock.end_epoch)
    with warnings.catch_warnings():
        # A tf.data dataset brings its own order, and Keras says so each time.
        warnings.filterwarnings("ignore", message=".*shuffle=True.*")
        model.fit(data, epochs=epochs, verbose=0, callbacks=[*callbacks, watch])
    return Epochs(tuple(clock.ends), tuple(clock.busy), tuple(clock.waited))


def _good_files(
    data_dir: Path | None, images: int | None, image_size: int, scratch: Path
) -> tuple[Path, int]:
    """Return a folder of links to the usable files, one folder a class, and their number.

    ``image_dataset_from_directory`` fails on damaged files, so both pipelines are given the
    good ones only. Reading them all here also brings them into the page cache.
    """
    from helpers import samples
    from helpers.index import load_index

    source = scratch / "sample" if data_dir is None else data_dir
    if data_dir is None:
        samples.draw(DATASET, source)
    with data_home(scratch / "first"):
        index = load_index(DATASET, source, image_size=image_size, max_images=images)
    folder = scratch / "files"
    for class_name, path in zip(index["class_name"], index["path"], strict=True):
        link = folder / class_name / Path(path).name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    return folder, len(index)


def _turned(tasks: list[Any], turn: int) -> list[Any]:
    """Return the tasks in another order each turn, so that none is always the first."""
    shift = turn * 3 % len(tasks)
    moved = tasks[shift:] + tasks[:shift]
    return moved[::-1] if turn % 2 else moved


def _rows(values: dict[str, list[dict[str, float]]]) -> list[Row]:
    """Return the measurements as rows of the table.

    Args:
        values: by task ("ours: later"), what each repetition gave by row ("later").
    """
    found: dict[str, dict[str, tuple[float, ...]]] = {"ours": {}, "keras": {}, "cached": {}}
    for key, repetitions in values.items():
        for row in repetitions[0]:
            found[key.split(":")[0]][row] = tuple(one[row] for one in repetitions)
    titles = {
        "first": ("First epoch, from files", "images/s"),
        "later": ("Later epochs", "images/s"),
        "augmented": ("Later epochs, augmented", "images/s"),
        "waiting": ("Share of an epoch that a small network waits for data", "share"),
        "idle": ("Share in which none of its training steps runs", "share"),
        "tuned": ("Share that EfficientNet-Lite0, fine-tuned, waits for data", "share"),
    }
    return [
        Row(
            title,
            found["ours"][key],
            found["keras"].get(key, ()),
            found["cached"].get(key, ()),
            unit,
        )
        for key, (title, unit) in titles.items()
    ]


def _times(value: float) -> str:
    return f"{value:.1f}×"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.input_pipeline",
        description="Images a second: our input pipeline beside Keras' own.",
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="D",
        help="a folder of malaria cells, as the archive unpacks (default: the synthetic sample)",
    )
    parser.add_argument(
        "--images", type=positive, metavar="N", help="use no more than N images (default: all)"
    )
    parser.add_argument(
        "--image-size", type=positive, default=64, metavar="PIXELS", help="(default: 64)"
    )
    parser.add_argument(
        "--repeats",
        type=positive,
        default=3,
        metavar="N",
        help="how often everything is measured (default: 3)",
    )
    parser.add_argument("--readme", action="store_true", help="also write the table into README.md")
    return parser


if __name__ == "__main__":
    sys.exit(main())
