"""How time, memory and disk grow with the number of images, each size in a process of its own.

    python -m benchmarks.scale                          1, 10 and 100 times the malaria sample
    python -m benchmarks.scale --write docs/scale.md    also puts the tables into that page

More images are made of the sample's: each is turned, mirrored or brightened, so that no two are
equal, and belongs to another patient. What a run does with them is what the notebooks do: list
them, decode them into the cache, split, train, compute frozen features, fit a head, evaluate.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.measuring import (
    CHECKOUT,
    data_home,
    epoch_seconds,
    machine,
    positive,
    rate,
    trainee_of,
    write_block,
)
from helpers.progress import progress

DATASET = "malaria"
IMAGE_SIZE = 64  # pixels, as the notebook's profiles have it
BATCH_SIZE = 32
FACTORS = (1, 10, 100)
MEASURED, CARRIED_ON = "measured", "carried on"  # the two blocks of the page
# What the tables carry on to: images, pixels, epochs of fine-tuning, and a name for people.
AIMS = {
    "108,312 OCT scans, 192 px, 10 epochs": (108_312, 192, 10),
    "1,000,000 tiles, 224 px, 5 epochs": (1_000_000, 224, 5),
}
# NVIDIA's own figure for training ResNet-50 at 224 px on one A100 in mixed precision: images a
# second, from github.com/NVIDIA/DeepLearningExamples, TensorFlow/Classification/ConvNets/
# resnet50v1.5, "Training performance: NVIDIA DGX A100". Nobody has published ours.
GPU_RATE = 2_375

Figures = dict[str, float]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables and, where asked for, write them; return the exit code."""
    wanted = _parser().parse_args(arguments)
    try:
        if wanted.child is not None:
            found = _rates() if wanted.child == "rates" else _run(Path(wanted.child))
            wanted.json.write_text(json.dumps(found), encoding="utf-8")
            return 0
        if wanted.write is not None:
            for mark in (MEASURED, CARRIED_ON):
                write_block(wanted.write, None, mark)  # a missing place is noticed now
        runs, rates = _measured(wanted)
        blocks = {MEASURED: measured(runs, wanted.remark), CARRIED_ON: carried_on(runs, rates)}
        print("\n\n".join(blocks.values()))
        for mark, text in blocks.items() if wanted.write is not None else ():
            write_block(wanted.write, text, mark)
    except (OSError, ValueError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    return 0


def measured(runs: dict[int, Figures], remark: str | None) -> str:
    """Return the table of what was measured, as Markdown: one column a size."""
    sizes = sorted(runs)
    rows: list[tuple[str, Callable[[Figures], str]]] = [
        ("images", lambda run: f"{run['images']:,.0f}"),
        ("patients", lambda run: f"{run['patients']:,.0f}"),
        ("files on disk", lambda run: _megabytes(run["file_bytes"])),
        ("list the files", lambda run: _seconds(run["list"])),
        ("decode them into the cache, once", lambda run: _seconds(run["cache"])),
        ("index and cache, found again", lambda run: _seconds(run["again"])),
        ("the cache on disk", lambda run: _megabytes(run["cache_bytes"])),
        ("split by patient, proof included", lambda run: _seconds(run["split"])),
        ("an epoch of the small network", lambda run: _seconds(run["epoch"])),
        ("frozen features of all images, once", lambda run: _seconds(run["features"])),
        ("these features on disk", lambda run: _megabytes(run["feature_bytes"])),
        ("head on the features of the training part", lambda run: _seconds(run["head"])),
        ("figures with intervals, of the test part", lambda run: _seconds(run["evaluate"])),
        ("**memory of the index**", lambda run: _megabytes(run["index_bytes"])),
        ("**own memory: libraries and networks**", lambda run: _megabytes(run["own_start"])),
        ("… at most until the network is trained", lambda run: _megabytes(_own_until_trained(run))),
        ("… at most while features are computed", lambda run: _megabytes(run["own_features"])),
        ("… at most while the head is fitted", lambda run: _megabytes(run["own_head"])),
        ("… at most while the head answers", lambda run: _megabytes(run["own_ask"])),
        ("… at most while figures are computed", lambda run: _megabytes(run["own_evaluate"])),
        ("with what is mapped from disk, at most", lambda run: _megabytes(run["resident"])),
    ]  # fmt: skip
    lines = ["| | " + " | ".join(f"{size}×" for size in sizes) + " |"]
    lines.append("|---|" + "---:|" * len(sizes))
    for title, show in rows:
        lines.append(f"| {title} | " + " | ".join(show(runs[size]) for size in sizes) + " |")
    lines += [
        "",
        f"Malaria cells of the synthetic sample at {IMAGE_SIZE} px, each size once, in a process "
        f"of its own, on {machine(remark)}. *Own memory* is what the process alone holds "
        f"(`RssAnon`); the last row is its resident set, which counts mapped pages that the system "
        f"takes back when it needs them. Measured again with "
        f"`.venv/bin/python -m benchmarks.scale --write docs/scale.md`.",
    ]
    return "\n".join(lines)


def carried_on(runs: dict[int, Figures], rates: Figures) -> str:
    """Return the table of what larger sets would take, from rates that were measured.

    Args:
        runs: by size; the largest gives what grows with the number of images alone.
        rates: images a second at larger sizes, from :func:`_rates`.
    """
    largest = runs[max(runs)]
    each = {name: largest[name] / largest["images"] for name in ("list", "index_bytes")}
    lines = ["| | " + " | ".join(AIMS) + " |", "|---|" + "---:|" * len(AIMS)]
    rows: dict[str, list[str]] = {}
    for images, size, epochs in AIMS.values():
        decode = images / rates["decode"]
        features = images / rates[f"features_{size}"]
        tuning = 0.6 * images * epochs / rates[f"tuning_{size}"]  # the training part is 60 %
        fast = 0.6 * images * epochs / GPU_RATE
        fast_features = images / GPU_RATE
        for title, text in {
            "list the files": _duration(each["list"] * images),
            "memory of the index": _megabytes(each["index_bytes"] * images),
            "decode them into the cache, once": _duration(decode),
            "the cache on disk": _megabytes(images * size * size * 3),
            "frozen features, once: here": _duration(features),
            "fine-tune EfficientNet-Lite0 (60 % of them): here": _duration(tuning),
            "frozen features: one GPU, *assumed*": _duration(fast_features),
            "fine-tune (60 % of them): one GPU, *assumed*": _duration(fast),
            "features on disk": _megabytes(images * 1_280 * 4),
            "disk while the head is fitted (training and validation, 80 %)": _megabytes(
                0.8 * images * 1_280 * 4
            ),
        }.items():
            rows.setdefault(title, []).append(text)
    lines += [f"| {title} | " + " | ".join(texts) + " |" for title, texts in rows.items()]
    sizes = sorted({size for _, size, _ in AIMS.values()})
    told = "; ".join(
        f"at {size} px {rate(rates[f'features_{size}'])} a second give features and "
        f"{rate(rates[f'tuning_{size}'])} are trained" for size in sizes
    )  # fmt: skip
    return "\n".join(
        [
            *lines,
            "",
            f"*Here* is the machine of the table above: {told}; {rate(rates['decode'])} "
            f"scans of the real ones' size are decoded. *Assumed* for the GPU: {GPU_RATE:,} images "
            f"a second, which is what NVIDIA publishes for training ResNet-50 (224 px, mixed "
            f"precision, batches of 256) on one A100. We have measured no GPU: read it as an order "
            f"of magnitude.",
        ]
    )


def _measured(wanted: argparse.Namespace) -> tuple[dict[int, Figures], Figures]:
    """Return what each size's process measured, and the rates for carrying on.

    What is in the file of ``--json`` already is not measured again: a size of an hour may be
    added to others.
    """
    kept: dict[str, Figures] = {}
    if wanted.json is not None and wanted.json.exists():
        kept = json.loads(wanted.json.read_text(encoding="utf-8"))
    from helpers import samples

    names = [str(factor) for factor in sorted(set(wanted.factors))]
    with tempfile.TemporaryDirectory(prefix="scale-", dir=wanted.folder) as name:
        scratch = Path(name)
        for size in [size for size in names if size not in kept]:
            if not (scratch / "sample").exists():
                samples.draw(DATASET, scratch / "sample")
            with _repeated(scratch / "sample", scratch / f"cells-{size}", int(size)) as folder:
                kept[size] = _in_a_process(str(folder), scratch)
            _keep(wanted.json, kept)
        if "rates" not in kept:
            kept["rates"] = _in_a_process("rates", scratch)
            _keep(wanted.json, kept)
    return {int(size): kept[size] for size in names}, kept["rates"]


def _keep(path: Path | None, found: dict[str, Figures]) -> None:
    """Write what was measured so far, where a file is named."""
    if path is not None:
        path.write_text(json.dumps(found, indent=1), encoding="utf-8")


@contextmanager
def _repeated(sample: Path, folder: Path, factor: int) -> Iterator[Path]:
    """Yield a folder with so many times the sample's images, of as many times its patients."""
    import shutil

    files = sorted((sample / "cell_images").rglob("*.png"))
    jobs = [(file, copy) for copy in range(factor) for file in files]

    def write(job: tuple[Path, int]) -> None:
        file, copy = job
        target = folder / "cell_images" / file.parent.name / _renamed(file.name, copy)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            picture = _changed(file, copy) if copy else None
        except OSError:  # the sample has damaged files, as real archives do: so have its copies
            picture = None
        if picture is None:
            shutil.copyfile(file, target)
        else:
            picture.save(target)

    try:
        with ThreadPoolExecutor(os.cpu_count() or 2) as pool:
            for _ in progress(pool.map(write, jobs), f"{factor} times the sample", len(jobs)):
                pass
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _renamed(name: str, copy: int) -> str:
    """Return a cell's file name with another patient in it for each copy."""
    patient, mark, rest = name.partition("_IMG_")
    return name if copy == 0 else f"{patient}r{copy}{mark}{rest}"


def _changed(file: Path, copy: int) -> Any:
    """Return an image turned, mirrored and brightened as no other copy of it is."""
    import numpy as np
    from PIL import Image

    with Image.open(file) as image:
        pixels = np.asarray(image.convert("RGB"))
    pixels = np.rot90(pixels, copy % 4)
    pixels = pixels[:, ::-1] if copy // 4 % 2 else pixels
    brighter = np.minimum(pixels.astype(int) + 2 * (copy // 8), 255)
    # the border stays black
    return Image.fromarray(np.where(pixels.max(axis=2, keepdims=True) > 8, brighter, pixels)
                           .astype(np.uint8))  # fmt: skip


def _in_a_process(what: str, scratch: Path) -> Figures:
    """Return what a process of its own measured, with a data home that is removed afterwards."""
    with tempfile.TemporaryDirectory(dir=scratch) as home, data_home(Path(home)):
        path = Path(home) / "figures.json"
        command = [sys.executable, "-m", "benchmarks.scale", "--child", what, "--json", str(path)]
        done = subprocess.run(command, cwd=CHECKOUT, check=False, stdout=sys.stderr)
        if done.returncode != 0 or not path.exists():
            raise ValueError(f"the run of {what} ended with code {done.returncode}, see above.")
        return dict(json.loads(path.read_text(encoding="utf-8")))


def _run(folder: Path) -> Figures:
    """Return time, memory and disk of each step of a run over a folder of cells."""
    import keras
    import numpy as np

    from helpers import metrics, models, splits, training
    from helpers.index import load_index
    from helpers.loading import Batches

    keras.config.disable_interactive_logging()
    watch = _Watch()
    files = sum(path.stat().st_size for path in folder.rglob("*.png"))
    extractor = models.feature_extractor(image_size=IMAGE_SIZE)
    small = models.small_cnn(image_size=IMAGE_SIZE)
    watch.mark("start")
    watch.step("list", lambda: load_index(DATASET, folder))
    index = watch.step("cache", lambda: load_index(DATASET, folder, image_size=IMAGE_SIZE))
    watch.seconds["cache"] -= watch.seconds["list"]
    watch.step("again", lambda: load_index(DATASET, folder, image_size=IMAGE_SIZE))
    split = watch.step("split", lambda: splits.split_by_patient(index, seed=0))
    train, test = (split[split["split"] == part] for part in ("train", "test"))

    from helpers import backend

    trainee, read = trainee_of(small, Batches(train, BATCH_SIZE, shuffle=True))
    watch.seconds["epoch"] = watch.step(
        "train", lambda: epoch_seconds(trainee, *backend.prefetched(read))
    )
    features = watch.step("features", lambda: training.extract_features(extractor, split))
    head = watch.step("head", lambda: training.fit_frozen(features, index, split))
    scores = watch.step("ask", lambda: head.predict(features, test.index)[:, 1])
    watch.step("evaluate", lambda: metrics.evaluate(test["label"], scores, test["patient"]))
    cache = Path(index.attrs["cache"])
    return {
        **watch.seconds,
        **watch.own,
        "resident": watch.resident,
        "images": len(index),
        "patients": int(index["patient"].nunique()),
        "file_bytes": files,
        "cache_bytes": cache.stat().st_size + cache.with_suffix(".csv").stat().st_size,
        "index_bytes": int(index.memory_usage(deep=True).sum()),
        "feature_bytes": int(np.prod(features.shape)) * 4,
    }


def _rates() -> Figures:
    """Return images a second at the sizes that the tables carry on to."""
    import numpy as np

    from benchmarks import gpu
    from helpers import samples
    from helpers.images import build_cache
    from helpers.paths import data_home as home

    found: Figures = {}
    networks = {network.title: network for network in gpu.networks()}
    for size in sorted({size for _, size, _ in AIMS.values()}):
        for name, title in (("features", "frozen"), ("tuning", "fine-tuned")):
            network = networks[f"EfficientNet-Lite0, {title}"]
            sized = gpu.Network(title, network.build, size, BATCH_SIZE, trained=network.trained)
            with tempfile.TemporaryDirectory(dir=home()) as folder:
                row = gpu.measure(sized, 4 * BATCH_SIZE, 3, Path(folder))
            found[f"{name}_{size}"] = float(np.median(row.training or row.inference))
    samples.draw("oct", home() / "oct")
    scans = list(_real_sizes(home() / "oct", home() / "scans", 400))
    start = time.perf_counter()
    build_cache(scans, min(size for _, size, _ in AIMS.values()))
    found["decode"] = len(scans) / (time.perf_counter() - start)
    return found


def _real_sizes(drawn: Path, folder: Path, most: int) -> Iterator[str]:
    """Yield the paths of so many scans as large as real ones: the sample's are a quarter of that.

    A decoder's work grows with the pixels, and real scans have sixteen times as many.
    """
    from PIL import Image

    folder.mkdir()
    files = [path for path in sorted(drawn.rglob("*.jpeg")) if path.stat().st_size > 0]
    for number, path in enumerate(files[:most]):
        try:
            with Image.open(path) as scan:
                large = scan.resize((4 * scan.width, 4 * scan.height))
        except OSError:  # damaged, as the sample's defects have it
            continue
        large.save(folder / f"{number}.jpeg", quality=95)
        yield str(folder / f"{number}.jpeg")


class _Watch:
    """Seconds and memory of each step: a thread looks twenty times a second.

    Attributes:
        seconds: of each step by name.
        own: the most bytes that only this process holds, as ``own_<step>``.
        resident: the most bytes of its resident set, with what is mapped from files.
    """

    def __init__(self) -> None:
        self.seconds: Figures = {}
        self.own: Figures = {}
        self.resident = 0.0

    def mark(self, name: str) -> None:
        """Note the memory that is held now."""
        own, resident = _memory()
        self.own[f"own_{name}"] = own
        self.resident = max(self.resident, resident)

    def step(self, name: str, work: Callable[[], Any]) -> Any:
        """Return what a step returns, its seconds and its most memory noted."""
        over = threading.Event()
        most = [0.0]

        def look() -> None:
            while True:
                own, resident = _memory()
                most[0] = max(most[0], own)
                self.resident = max(self.resident, resident)
                if over.wait(0.05):
                    return

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        start = time.perf_counter()
        try:
            return work()
        finally:
            self.seconds[name] = time.perf_counter() - start
            over.set()
            thread.join()
            self.own[f"own_{name}"] = most[0]


def _memory() -> tuple[float, float]:
    """Return the bytes that only this process holds, and its resident set.

    Pages of a mapped file belong to the system, which takes them back at will; tools that call
    them a process's own (as USS does) would show the cache as if it were loaded.
    """
    import psutil

    resident = float(psutil.Process().memory_info().rss)
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:  # no Linux: the resident set is all that can be told
        return resident, resident
    kilobytes = status.partition("RssAnon:")[2].split()[:1]
    return (float(kilobytes[0]) * 1024 if kilobytes else resident), resident


def _own_until_trained(run: Figures) -> float:
    """Return the most own memory of all steps up to the trained network."""
    return max(run[f"own_{step}"] for step in ("list", "cache", "again", "split", "train"))


def _seconds(value: float) -> str:
    """Return seconds to two digits below ten, whole above."""
    return f"{value:.2f} s" if value < 10 else f"{value:,.0f} s"


def _megabytes(value: float) -> str:
    """Return bytes as megabytes, from ten thousand on as gigabytes."""
    megabytes = value / 1e6
    if megabytes >= 10_000:
        return f"{megabytes / 1000:,.0f} GB"
    return f"{megabytes:,.0f} MB" if megabytes >= 10 else f"{megabytes:.1f} MB"


def _duration(seconds: float) -> str:
    """Return seconds in the unit that a person would use, to two digits."""
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 1.5 * length:
            count = seconds / length
            return f"{count:.1f} {unit}" if count < 10 else f"{count:,.0f} {unit}"
    return f"{math.ceil(seconds)} seconds"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale",
        description="How time, memory and disk grow with the number of images.",
    )
    parser.add_argument(
        "--factors",
        type=positive,
        nargs="+",
        default=FACTORS,
        metavar="N",
        help="how many times the sample (default: 1 10 100; 100 needs 4 GB of disk)",
    )
    parser.add_argument(
        "--folder", type=Path, metavar="F", help="where files are made and removed (default: /tmp)"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="keep figures here; those in it are not repeated"
    )
    parser.add_argument("--remark", help="about the machine, for the line below the table")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables into this page")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
