"""How fast the networks train and answer here, and how long they wait for images.

    python -m benchmarks.gpu             prints one table a backend
    python -m benchmarks.gpu --readme    also puts them into benchmarks/README.md

On a GPU every network of the series is measured, at the sizes of its profile. Without one a few
small networks are: the table has the same form, and says so. A backend is fixed when Keras is
imported, so each has a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.measuring import (
    CHECKOUT,
    epoch_seconds,
    machine,
    percent,
    positive,
    rate,
    spread,
    trainee_of,
    write_block,
)
from helpers import ENGINES, PRECISIONS, kernels, registry
from helpers.progress import progress

MARK = "gpu"
README = CHECKOUT / "benchmarks" / "README.md"
WAITING_TARGET = 0.10
REDUCED = {"image_size": 64, "batch_size": 16, "images": 512}  # on a processor


@dataclass(frozen=True)
class Network:
    """A network to measure.

    Attributes:
        title: for the table.
        build: from the image size to the Keras model.
        image_size: height and width in pixels.
        batch_size: images a training step.
        reduced: it is measured on a processor too.
        trained: False measures its answers only.
    """

    title: str
    build: Callable[[int], Any]
    image_size: int
    batch_size: int
    reduced: bool = False
    trained: bool = True


@dataclass(frozen=True)
class Row:
    """What was measured of one network.

    Attributes:
        title: of the network.
        image_size: height and width in pixels.
        batch_size: images a step.
        training: images a second through ``fit``, augmented, one value a repetition; empty where
            it is not trained.
        alone: the same with one batch that is ready, over and over: what the model takes alone.
        inference: images a second through ``training.predict``.
        problem: why there are no figures; empty where there are.
    """

    title: str
    image_size: int
    batch_size: int
    training: Sequence[float] = ()
    alone: Sequence[float] = ()
    inference: Sequence[float] = ()
    problem: str = ""

    @property
    def waiting(self) -> list[float]:
        """Share of an epoch in which the model waits for images, one value a repetition.

        Where it hardly waits, chance makes some of them negative.
        """
        pairs = zip(self.training, self.alone, strict=True)
        return [1.0 - whole / alone for whole, alone in pairs]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables and, where asked for, write them; return the exit code."""
    wanted = _parser().parse_args(arguments)
    try:
        if wanted.json is not None:  # one backend, in the process that was started for it
            wanted.json.write_text(json.dumps(_measure_here(wanted)), encoding="utf-8")
            return 0
        if wanted.readme:
            write_block(README, None, MARK)  # a missing place is noticed now
        found = [_in_a_process(name, wanted) for name in _backends(wanted.backend)]
        text = "\n\n".join([*(section(one) for one in found), conditions(wanted)])
        print(text)
        if wanted.readme:
            changed = write_block(README, text, MARK)
            print(f"\n{README.name}: {'tables written' if changed else 'unchanged'}")
    except (OSError, ValueError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    return 0


def networks() -> list[Network]:
    """Return all networks of the series, ours first, at the sizes of their profiles."""
    profiles = {dataset.name: dataset.profiles for dataset in registry.in_order()}

    def sized(dataset: str, profile: str) -> tuple[int, int]:
        chosen = profiles[dataset][profile]
        return chosen.image_size, chosen.batch_size

    return [
        Network("EfficientNet-Lite0, frozen", _extractor, *sized("breast_cancer", "best"),
                reduced=True, trained=False),
        Network("EfficientNet-Lite0, fine-tuned", _tuned, *sized("breast_cancer", "best"),
                reduced=True),
        Network("small CNN", _small, *sized("malaria", "best"), reduced=True),
        Network("U-Net on EfficientNet-Lite0", _unet, *sized("brain_mri", "best")),
        Network("01: DenseNet201", _source("breast_cancer"), *sized("breast_cancer", "source")),
        Network("02: ResNet50", _source("brain_mri"), *sized("brain_mri", "source")),
        Network("03: ResNet50V2", _source("malaria"), *sized("malaria", "source")),
        Network("04: VGG16, its backbone frozen", _source("oct"), *sized("oct", "source")),
        Network("05: the article's CNN", _article, *sized("pneumonia", "source")),
    ]  # fmt: skip


def measure(network: Network, images: int, repeats: int, scratch: Path) -> Row:
    """Return the figures of one network.

    Args:
        network: what to build, and its sizes.
        images: about how many an epoch; the epoch is made of full batches.
        repeats: how often everything is measured, in turn.
        scratch: a folder for the images.
    """
    from helpers import backend, memory
    from helpers.augment import Augment
    from helpers.loading import Batches

    size, batch_size = network.image_size, network.batch_size
    count = max(2, round(images / batch_size)) * batch_size
    sizes = (network.title, size, batch_size)
    try:
        with memory.explained(batch_size, size, backend.device()):
            model = network.build(size)
            outlines = len(model.output_shape) == 4
            index = _index(count, size, scratch, outlines)
            reached = _answers_a_second(model, Batches(index, batch_size), repeats)
            if not network.trained:
                return Row(*sizes, inference=reached)
            batches = Batches(index, batch_size, shuffle=True, masks=outlines)
            augment = Augment(rotate=20.0, zoom=0.1, shift=0.05, flip_left_right=True)
            trainee, read = trainee_of(model, batches, augment)
            whole, alone = [], []
            for _ in range(repeats):
                whole.append(count / epoch_seconds(trainee, *backend.prefetched(read)))
                alone.append(count / epoch_seconds(trainee, _ready(read)))
    except memory.DeviceMemoryError as error:
        return Row(*sizes, problem=str(error))
    return Row(*sizes, whole, alone, reached)


def section(found: dict[str, Any]) -> str:
    """Return a heading and the table of one backend as Markdown."""
    rows = [Row(**row) for row in found["rows"]]
    lines = [
        f"**{found['title']}**",
        "",
        "| network | pixels | batch | training, images/s | the model alone | waits for images "
        "| answers, images/s |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        rates = [spread(values, rate) for values in (row.training, row.alone, row.inference)]
        figures = [*rates[:2], spread(row.waiting, percent), rates[2]]
        lines.append(
            f"| {row.title} | {row.image_size} | {row.batch_size} | {' | '.join(figures)} |"
        )
    problems = [f"{row.title}: {row.problem}" for row in rows if row.problem]
    return "\n".join([*lines, *([""] if problems else []), *problems])


def conditions(wanted: argparse.Namespace) -> str:
    """Return the lines below the tables: how and on what machine it was measured."""
    return (
        f"Median (range) of {wanted.repeats}, each after an epoch that is not counted. "
        f"Training: `fit` as the notebooks use it, augmented (rotation, zoom, shift, mirror), "
        f"AdamW, from a mapped file that the system holds in memory. *The model alone* trains on "
        f"one batch that is ready, "
        f"over and over; *waits* is what the epoch takes longer than that, as a share (at most "
        f"{100 * WAITING_TARGET:.0f} % is the aim on a GPU; below zero is chance). Answers: "
        f"`training.predict`, reading included. Pixels are random numbers, and so are the weights "
        f"of 01 to 05.\n\n"
        f"Measured on {machine(wanted.remark)}. Measured again with "
        f"`.venv/bin/python -m benchmarks.gpu --readme`."
    )


def _backends(named: list[str] | None) -> list[str]:
    """Return the backends to measure: those named, else all that are installed here."""
    present = [name for name in ENGINES if kernels.is_installed(name)]
    for name in named or []:
        if name not in present:
            device = "gpu" if kernels.gpus() else "cpu"
            command = kernels.install_command(name, device)
            raise ValueError(f"The backend {name} is not installed here. Install it:  {command}")
    return named or present


def _in_a_process(name: str, wanted: argparse.Namespace) -> dict[str, Any]:
    """Return what a process of its own measured with one backend."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        path = Path(folder) / "rows.json"
        command = [sys.executable, "-m", "benchmarks.gpu", "--json", str(path)]
        command += ["--repeats", str(wanted.repeats), "--precision", wanted.precision]
        command += ["--images", str(wanted.images)] if wanted.images else []
        command += [word for title in wanted.network or [] for word in ("--network", title)]
        environment = os.environ | {"KERAS_BACKEND": name}
        # what it says of itself goes where ours does; only the figures come back in a file
        done = subprocess.run(
            command, cwd=CHECKOUT, env=environment, check=False, stdout=sys.stderr
        )
        if done.returncode != 0 or not path.exists():
            raise ValueError(f"measuring with {name} ended with code {done.returncode}, see above.")
        return dict(json.loads(path.read_text(encoding="utf-8")))


def _measure_here(wanted: argparse.Namespace) -> dict[str, Any]:
    """Return title and rows for the backend of this process."""
    import keras

    from helpers import backend

    keras.config.disable_interactive_logging()
    backend.use_precision(wanted.precision)
    on_gpu = backend.device() == "GPU"
    images = wanted.images or (2_048 if on_gpu else REDUCED["images"])
    chosen = [one for one in networks() if on_gpu or one.reduced]
    if wanted.network:
        chosen = [one for one in networks() if one.title in wanted.network]
    rows = []
    for network in progress(chosen, f"measuring on {backend.name()}"):
        sized = network if on_gpu else _reduced(network)
        with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
            rows.append(asdict(measure(sized, images, wanted.repeats, Path(folder))))
        keras.utils.clear_session()
    title = backend.describe().replace("\n", ", ")
    if not on_gpu:
        title += " (no GPU here: a reduced table, small images and networks)"
    return {"title": title, "rows": rows}


def _reduced(network: Network) -> Network:
    """Return the network at a size that a processor computes in seconds."""
    return Network(network.title, network.build, REDUCED["image_size"], REDUCED["batch_size"],
                   trained=network.trained)  # fmt: skip


def _answers_a_second(model: Any, batches: Any, repeats: int) -> list[float]:
    """Return images a second through ``training.predict``, after a first call that compiles."""
    from helpers import training

    training.predict(model, batches)
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        training.predict(model, batches)
        found.append(len(batches.rows) / (time.perf_counter() - start))
    return found


def _ready(batches: Any) -> Any:
    """Return data as long as the batches that hand over the first one again and again."""
    import keras

    from helpers import backend

    first, number = batches[0], batches.num_batches
    if backend.name() == "tensorflow":  # without Python between two steps
        import tensorflow

        return tensorflow.data.Dataset.from_tensors(first).repeat(number)

    class Same(keras.utils.PyDataset):
        num_batches = number

        def __getitem__(self, _: int) -> Any:
            return first

    return Same()


def _index(count: int, size: int, scratch: Path, masks: bool) -> Any:
    """Return an index of images of random pixels, with a cache as ``load_index`` leaves it."""
    import numpy as np
    import pandas as pd

    generator = np.random.default_rng(0)
    index = pd.DataFrame({"row": np.arange(count), "label": np.arange(count) % 2})
    index.attrs = {"classes": ["a", "b"], "cache": str(scratch / "images.npy")}
    np.save(scratch / "images.npy", generator.integers(0, 256, (count, size, size, 3), np.uint8))
    if masks:
        index.attrs["mask_cache"] = str(scratch / "masks.npy")
        np.save(scratch / "masks.npy", generator.integers(0, 2, (count, size, size, 1), np.uint8))
    return index


def _extractor(size: int) -> Any:
    from helpers import models

    return models.feature_extractor(image_size=size)


def _tuned(size: int) -> Any:
    """Return the default as the notebooks fine-tune it: a fitted head, batch norm frozen."""
    import numpy as np

    from helpers import training

    extractor = _extractor(size)
    labels = np.arange(40) % 2
    described = np.random.default_rng(0).normal(size=(40, extractor.output_shape[1]))
    head = training.fit_head(described, labels, described, labels, strengths=[0.003])
    return training.attach_head(extractor, head, trainable=True)


def _small(size: int) -> Any:
    from helpers import models

    return models.small_cnn(image_size=size)


def _unet(size: int) -> Any:
    from helpers import models

    return models.unet(image_size=size)


def _article(size: int) -> Any:
    from helpers import models

    return models.article_cnn(image_size=size)


def _source(dataset: str) -> Callable[[int], Any]:
    """Return what builds a source article's network, its weights random."""

    def build(size: int) -> Any:
        from helpers import models

        name = registry.get(dataset).profiles["source"].backbone
        frozen = dataset == "oct"
        return models.transfer(
            name, head=dataset, image_size=size, weights="none", trainable=not frozen
        )

    return build


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description="Images a second in training and prediction, and the wait for images.",
    )
    parser.add_argument(
        "--backend",
        action="append",
        choices=ENGINES,
        help="measure this one; may be repeated (default: all that are installed)",
    )
    parser.add_argument(
        "--network",
        action="append",
        choices=[network.title for network in networks()],
        metavar="TITLE",
        help="measure this one, as the table calls it; may be repeated",
    )
    parser.add_argument(
        "--images", type=positive, metavar="N", help="images an epoch (2,048; without a GPU 512)"
    )
    parser.add_argument(
        "--repeats", type=positive, default=3, metavar="N", help="measurements (default: 3)"
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="auto",
        help="as in the notebooks (default: auto)",
    )
    parser.add_argument("--remark", help="about the machine, for the line below the tables")
    parser.add_argument("--readme", action="store_true", help="write into benchmarks/README.md")
    parser.add_argument("--json", type=Path, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
