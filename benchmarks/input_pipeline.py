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
import math
import os
import platform
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from helpers.paths import DATA_VARIABLE, atomic_file
from helpers.progress import progress

CHECKOUT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- benchmark -->", "<!-- /benchmark -->"
DATASET = "malaria"
BATCH_SIZE = 32  # images
FILTERS = (16, 32, 64)  # of the network whose waiting is measured
LATER_EPOCHS = 4  # an epoch of a small sample is short; these are timed as one
WAITING_TARGET = 0.05

# What the notebook's augmentation does to a cell, as far as Keras has layers for it.
ROTATE, ZOOM, SHIFT, BRIGHTNESS, CONTRAST = 180.0, 0.1, 0.05, 15.0, 0.15

_BLOCK = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)


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
    """

    ends: tuple[float, ...]
    busy: tuple[float, ...]

    def rate(self, images: int) -> float:
        """Return images a second over all epochs but the first."""
        return images * (len(self.busy) - 1) / (self.ends[-1] - self.ends[1])

    def waiting(self) -> float:
        """Return the share of all epochs but the first in which no training step ran.

        This is an upper bound of the wait for data: what Keras does between two steps and
        between two epochs is counted with it.
        """
        return 1.0 - sum(self.busy[1:]) / (self.ends[-1] - self.ends[1])


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and, where asked for, write it into README.md; return the exit code."""
    wanted = _parser().parse_args(arguments)
    readme = CHECKOUT / "README.md"
    try:
        if wanted.readme:
            write_block(readme, None)  # a missing place is noticed now, not minutes later
        rows, images = measure(
            wanted.data_dir,
            images=wanted.images,
            image_size=wanted.image_size,
            repeats=wanted.repeats,
        )
        text = table(rows) + "\n\n" + conditions(images, wanted)
        print(text)
        if wanted.readme:
            changed = write_block(readme, text)
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
        values: dict[str, list[float]] = {key: [] for key, _ in tasks}
        order = [task for turn in range(repeats) for task in _turned(tasks, turn)]
        for key, task in progress(order, "measuring"):
            values[key].append(task())
    return _rows({key: tuple(found) for key, found in values.items()}), count


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table: medians, ranges, and ratios within a repetition."""
    lines = [
        "| | `helpers` | `image_dataset_from_directory` | … with `.cache()` in memory "
        "| `helpers` : Keras |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        show = _rate if row.unit == "images/s" else _percent
        ratio = "—"
        if row.unit == "images/s":
            ratio = _spread([a / b for a, b in zip(row.ours, row.keras, strict=True)], _times)
        cells = [_spread(values, show) for values in (row.ours, row.keras, row.cached)]
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
        f"`helpers` keeps each cell's shape and antialiases; Keras runs with its defaults, which "
        f"stretch the cell to a square and do not antialias. Augmentation: rotation, zoom, shift, "
        f"mirror, brightness, contrast; one warp against six layers. The share without a training "
        f"step is an upper bound of the wait for data (target: at most "
        f"{WAITING_TARGET:.0%}).\n\n"
        f"Measured on {_cores()} cores, {_processor()}; Python {platform.python_version()}, "
        f"{_engine()}, {versions}. `make bench` measures it again."
    )


def write_block(readme: Path, text: str | None) -> bool:
    """Return whether the benchmark block of a Markdown file had to be changed.

    Args:
        readme: the file; it is replaced as a whole, or not at all.
        text: what shall stand between the two marks; None only looks for them.

    Raises:
        ValueError: the file has no such block.
    """
    before = readme.read_text(encoding="utf-8")
    if not _BLOCK.search(before):
        raise ValueError(f"{readme} has no '{BEGIN}' and '{END}': say where the table belongs.")
    if text is None:
        return False
    block = f"{BEGIN}\n{text.strip()}\n{END}"
    after = _BLOCK.sub(lambda _: block, before, count=1)
    if after == before:
        return False
    with atomic_file(readme) as temporary:
        temporary.write_text(after, encoding="utf-8")
    return True


class _Measures:
    """The single measurements; models are built and traced once, so none pays for it."""

    def __init__(self, folder: Path, count: int, image_size: int, scratch: Path) -> None:
        """Build the consumers; Keras is imported here, which takes ten seconds."""
        import keras

        from helpers import models

        keras.config.disable_interactive_logging()
        self.keras = keras
        self.folder, self.count, self.image_size = folder, count, image_size
        self.scratch = scratch
        network = models.small_cnn(image_size=image_size, filters=FILTERS)
        self.plain = _consumer(self._through(None))
        self.our_augmentation = _consumer(self._through(_our_augmentation()))
        self.their_augmentation = _consumer(self._through(_their_augmentation(keras)))
        self.network = _consumer(network, train=True)
        # One cache for the later epochs; each first epoch builds one of its own.
        with _data_home(scratch / "kept"):
            self.index = self._load_index()

    def warm_up(self) -> None:
        """Trace every graph for every kind of input that it will see."""
        for model in (self.plain, self.our_augmentation, self.network):
            _fit(model, self._ours(self.index), epochs=1)
        for model in (self.plain, self.their_augmentation, self.network):
            _fit(model, self._theirs(), epochs=1)

    def tasks(self) -> dict[str, Callable[[], float]]:
        """Return each measurement by its name."""
        return {
            "first ours": self._first_of_ours,
            "first keras": self._first_of_theirs,
            "later ours": lambda: self._later(self.plain, self._ours(self.index)),
            "later keras": lambda: self._later(self.plain, self._theirs()),
            "later cached": lambda: self._later(self.plain, self._theirs(cached=True)),
            "augmented ours": lambda: self._later(self.our_augmentation, self._ours(self.index)),
            "augmented keras": lambda: self._later(self.their_augmentation, self._theirs()),
            "augmented cached": lambda: self._later(
                self.their_augmentation, self._theirs(cached=True)
            ),
            "waiting ours": lambda: self._waiting(self._ours(self.index)),
            "waiting keras": lambda: self._waiting(self._theirs()),
            "waiting cached": lambda: self._waiting(self._theirs(cached=True)),
        }

    def _first_of_ours(self) -> float:
        """Images a second from listing the folder to the end of the first epoch."""
        with tempfile.TemporaryDirectory(dir=self.scratch) as name, _data_home(Path(name)):
            start = time.perf_counter()
            index = self._load_index()
            return self.count / (_fit(self.plain, self._ours(index), epochs=1).ends[-1] - start)

    def _first_of_theirs(self) -> float:
        start = time.perf_counter()
        return self.count / (_fit(self.plain, self._theirs(), epochs=1).ends[-1] - start)

    def _later(self, model: Any, data: Any) -> float:
        return _fit(model, data, epochs=1 + LATER_EPOCHS).rate(self.count)

    def _waiting(self, data: Any) -> float:
        return _fit(self.network, data, epochs=1 + LATER_EPOCHS).waiting()

    def _load_index(self) -> Any:
        from helpers.index import load_index

        return load_index(DATASET, self.folder, image_size=self.image_size)

    def _ours(self, index: Any) -> Any:
        from helpers.loading import Batches

        return Batches(index, BATCH_SIZE, shuffle=True)

    def _theirs(self, cached: bool = False) -> Any:
        data = self.keras.utils.image_dataset_from_directory(
            str(self.folder),
            label_mode="categorical",
            image_size=(self.image_size, self.image_size),
            batch_size=BATCH_SIZE,
            shuffle=True,
            seed=0,
            verbose=False,
        )
        return data.cache().prefetch(2) if cached else data

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
    model.seconds_busy = 0.0

    def compute(batch: Any) -> Any:
        if train:
            return model.train_step(batch)
        # Reduced to one number, so that the graph computes every pixel and nothing is copied.
        images = tensorflow.cast(model(batch[0], training=True), "float32")
        return {"loss": tensorflow.reduce_mean(images)}

    compiled = tensorflow.function(compute, reduce_retracing=True)

    def step(iterator: Any) -> Any:
        batch = next(iterator)
        start = time.perf_counter()
        logs = compiled(batch)
        for value in logs.values():
            float(value)  # waits for the result where the device computes in the background
        model.seconds_busy += time.perf_counter() - start
        return logs

    model.train_function = step
    return model


def _fit(model: Any, data: Any, *, epochs: int) -> Epochs:
    """Return the clock of so many epochs."""
    import keras

    ends: list[float] = []
    busy: list[float] = []

    def begin(logs: Any) -> None:
        ends.append(time.perf_counter())

    def end(epoch: int, logs: Any) -> None:
        ends.append(time.perf_counter())
        busy.append(model.seconds_busy)
        model.seconds_busy = 0.0

    model.seconds_busy = 0.0
    watch = keras.callbacks.LambdaCallback(on_train_begin=begin, on_epoch_end=end)
    model.fit(data, epochs=epochs, verbose=0, callbacks=[watch])
    return Epochs(tuple(ends), tuple(busy))


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
    with _data_home(scratch / "first"):
        index = load_index(DATASET, source, image_size=image_size, max_images=images)
    folder = scratch / "files"
    for class_name, path in zip(index["class_name"], index["path"], strict=True):
        link = folder / class_name / Path(path).name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    return folder, len(index)


@contextmanager
def _data_home(folder: Path) -> Iterator[None]:
    """Let ``helpers`` keep its caches in a folder of ours, not in the user's."""
    before = os.environ.get(DATA_VARIABLE)
    os.environ[DATA_VARIABLE] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ[DATA_VARIABLE]
        else:
            os.environ[DATA_VARIABLE] = before


def _turned(tasks: list[Any], turn: int) -> list[Any]:
    """Return the tasks in another order each turn, so that none is always the first."""
    shift = turn * 3 % len(tasks)
    moved = tasks[shift:] + tasks[:shift]
    return moved[::-1] if turn % 2 else moved


def _rows(values: dict[str, tuple[float, ...]]) -> list[Row]:
    """Return the measurements as rows of the table."""
    titles = {
        "first": ("First epoch, from files", "images/s"),
        "later": ("Later epochs", "images/s"),
        "augmented": ("Later epochs, augmented", "images/s"),
        "waiting": ("Share of a small network's epoch without a training step", "share"),
    }
    return [
        Row(
            title,
            values[f"{key} ours"],
            values[f"{key} keras"],
            values.get(f"{key} cached", ()),
            unit,
        )
        for key, (title, unit) in titles.items()
    ]


def _spread(values: Sequence[float], show: Callable[[float], str]) -> str:
    """Return median and range, in words of ``show``; a dash where nothing was measured."""
    if not values:
        return "—"
    middle = show(statistics.median(values))
    if len(values) == 1:
        return middle
    return f"{middle} ({show(min(values))} – {show(max(values))})"


def _rate(value: float) -> str:
    """Return images a second to three digits: more would be noise."""
    digits = 2 - math.floor(math.log10(value)) if value > 0 else 0
    return f"{round(value, min(digits, 0)):,.0f}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _times(value: float) -> str:
    return f"{value:.1f}×"


def _cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    """Return the processor's name, as far as the system tells it."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()


def _engine() -> str:
    """Return name and version of the TensorFlow that is installed."""
    for name in ("tensorflow-cpu", "tensorflow"):
        try:
            return f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue
    return "no TensorFlow"


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
        "--images", type=_positive, metavar="N", help="use no more than N images (default: all)"
    )
    parser.add_argument(
        "--image-size", type=_positive, default=64, metavar="PIXELS", help="(default: 64)"
    )
    parser.add_argument(
        "--repeats",
        type=_positive,
        default=3,
        metavar="N",
        help="how often everything is measured (default: 3)",
    )
    parser.add_argument("--readme", action="store_true", help="also write the table into README.md")
    return parser


def _positive(text: str) -> int:
    """Return a whole number of at least 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: give a whole number of 1 or more")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
