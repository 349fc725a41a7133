"""What a run leaves behind: its folder, ``results.json``, the model and the model card.

``results.json`` is the only thing that tests, tables and reports read. It is written
last and all at once: where it stands, the run has finished. Its format is described in
``results.schema.json`` beside this module and in ``docs/results.md``.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import re
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import metadata
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Protocol

from helpers.paths import atomic_file

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1
FILE_NAME = "results.json"
RUNS_VARIABLE = "TUTORIALS_RUNS"
Record = dict[str, Any]


class Figure(Protocol):
    """A figure with its 95 % interval, as ``helpers.metrics.Estimate`` has it."""

    @property
    def value(self) -> float:
        """The figure itself."""

    @property
    def low(self) -> float:
        """Lower end of the interval."""

    @property
    def high(self) -> float:
        """Upper end of the interval."""

    @property
    def n(self) -> int:
        """How many the interval is over."""

    @property
    def unit(self) -> str:
        """What was counted, for instance ``"patients"``."""


class Model(Protocol):
    """What can be kept as ``model.keras``: any Keras model."""

    def save(self, filepath: str | os.PathLike[str]) -> None:
        """Write the whole model into one file."""


def output_folder(output_dir: str | os.PathLike[str] | None, tutorial: str) -> Path:
    """Return the folder that this run may write into, made and with ``figures/`` in it.

    Args:
        output_dir: the folder; ``None`` means a new ``<tutorial>-<date>-<time>`` in
            ``$TUTORIALS_RUNS``, else in ``runs/`` below the current folder.
        tutorial: the tutorial's name, for instance ``"malaria"``.

    Raises:
        FileExistsError: the folder holds the results of an earlier run, which are never
            mixed with new ones.
    """
    if output_dir is None:
        runs = Path(os.environ.get(RUNS_VARIABLE) or "runs").expanduser().absolute()
        folder = _new_folder(runs, tutorial)
    else:
        folder = Path(output_dir).expanduser().absolute()
    if (folder / FILE_NAME).exists():
        raise FileExistsError(
            f"{folder} already holds the results of a run. Choose another output_dir, remove "
            "that folder, or leave output_dir at None for a new folder each time."
        )
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    return folder


def save(
    folder: str | os.PathLike[str],
    *,
    tutorial: str,
    profile: str,
    seed: int,
    fold: int | str | None,
    parameters: Mapping[str, Any],
    index: pd.DataFrame,
    figures: Mapping[str, Figure],
    main: Sequence[str],
    started: float,
    model: Model | None = None,
    card: str | None = None,
    title: str | None = None,
    backend: str | None = None,
    device: str | None = None,
) -> Path:
    """Return the path of the ``results.json`` that was written, all at once and checked.

    Args:
        folder: the run's folder, from :func:`output_folder`.
        tutorial: the tutorial's name, for instance ``"malaria"``.
        profile: ``"sample"``, ``"best"`` or ``"source"``.
        seed: the one seed of the run.
        fold: ``None``, the fold's number, or ``"all"``.
        parameters: the notebook's parameters; plain numbers, texts, truths and ``None``.
        index: the data frame from ``load_index`` after the split.
        figures: every figure of the run, by name in snake_case.
        main: names of the one to five figures that a table should show.
        started: ``time.perf_counter()`` at the start of the notebook, in seconds.
        model: a Keras model that is kept as ``model.keras``.
        card: Markdown that is kept as ``model_card.md``, from :func:`model_card`.
        title: the tutorial's name for people; ``None`` asks the registry.
        backend: the engine under Keras; ``None`` asks Keras, if it is in use.
        device: ``"CPU"`` or ``"GPU"``; ``None`` asks the engine, if it is in use.

    Raises:
        ValueError: a figure is not finite or lies outside its interval, a name in ``main``
            has no figure, or anything else does not fit the format; nothing is written.
    """
    record = facts(
        tutorial=tutorial,
        profile=profile,
        seed=seed,
        fold=fold,
        parameters=parameters,
        index=index,
        figures=figures,
        main=main,
        title=title,
        backend=backend,
        device=device,
    )
    record["seconds"] = round(time.perf_counter() - started, 1)
    if record["seconds"] < 0:
        raise ValueError("started lies in the future: take it from time.perf_counter().")
    record["peak_memory_mb"] = peak_memory()
    record["versions"] = versions()  # last, as a reader looks for it last
    check(record)

    folder = Path(folder)
    if model is not None:
        with atomic_file(folder / "model.keras") as temporary:
            model.save(temporary)
    if card is not None:
        with atomic_file(folder / "model_card.md") as temporary:
            temporary.write_text(card, encoding="utf-8")
    with atomic_file(folder / FILE_NAME) as temporary:
        text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")
    return folder / FILE_NAME


def load(path: str | os.PathLike[str]) -> Record:
    """Return the checked contents of a ``results.json``.

    Args:
        path: the file, or the run's folder.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is no JSON, was written by a newer version, or does not fit the format.
    """
    path = Path(path)
    if path.is_dir():
        path = path / FILE_NAME
    try:
        record = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8: {error}.") from error
    except ValueError as error:
        raise ValueError(f"{path} is no valid JSON: {error}.") from error
    try:
        check(record)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return dict(record)


def check(record: object) -> None:
    """Return nothing where a record fits the format of ``results.json``.

    Args:
        record: what was read, or is about to be written.

    Raises:
        ValueError: the first thing that does not fit, and where.
    """
    record = _table(record, "results.json")
    if record.get("schema") != SCHEMA or isinstance(record.get("schema"), bool):
        raise ValueError(
            f"schema is {record.get('schema')!r}, this version of helpers reads {SCHEMA} only."
        )
    _keys(record, "results.json", _FIELDS, optional=("precision", "devices"))
    for name in ("tutorial", "title", "profile"):
        _text(record[name], name, empty=False)
    for name in ("backend", "device", "precision"):
        if record.get(name) is not None:
            _text(record[name], name)
    if record.get("devices") is not None:
        _whole(record["devices"], "devices", lowest=1)
    _whole(record["seed"], "seed")
    if not isinstance(record["fold"], str | None):
        _whole(record["fold"], "fold")
    for name, value in _table(record["parameters"], "parameters").items():
        if not isinstance(value, str | bool | None):
            _number(value, f"parameters.{name}")
    _check_data(record["data"])
    _check_figures(record["figures"], record["main"])
    _number(record["seconds"], "seconds", lowest=0)
    if record["peak_memory_mb"] is not None:
        _number(record["peak_memory_mb"], "peak_memory_mb", lowest=0)
    for name, value in _table(record["versions"], "versions").items():
        _text(value, f"versions.{name}")
    if "python" not in record["versions"]:
        raise ValueError("versions.python is missing.")


def facts(
    *,
    tutorial: str,
    profile: str,
    seed: int,
    fold: int | str | None,
    parameters: Mapping[str, Any],
    index: pd.DataFrame,
    figures: Mapping[str, Figure],
    main: Sequence[str],
    title: str | None = None,
    backend: str | None = None,
    device: str | None = None,
) -> Record:
    """Return what ``results.json`` says of a run, but for time, memory and versions.

    The arguments are those of :func:`save`.
    """
    engine, place, precision, devices = _engine()
    data = _data_facts(index, tutorial)
    return {
        "schema": SCHEMA,
        "tutorial": tutorial,
        "title": title or title_of(tutorial),
        "profile": profile,
        "backend": backend or engine,
        "device": device or place,
        "precision": precision,
        "devices": devices,
        "seed": _plain(seed, "seed"),
        "fold": _plain(fold, "fold"),
        "parameters": {name: _plain(value, name) for name, value in parameters.items()},
        "data": data,
        "figures": {name: _figure_facts(figure, data) for name, figure in figures.items()},
        "main": list(main),
    }


def model_card(
    *,
    tutorial: str,
    profile: str,
    seed: int,
    fold: int | str | None,
    parameters: Mapping[str, Any],
    index: pd.DataFrame,
    figures: Mapping[str, Figure],
    main: Sequence[str],
    title: str | None = None,
    backend: str | None = None,
    device: str | None = None,
    description: str = "",
    limitations: Sequence[str] = (),
    licence: str | None = None,
    citation: str | None = None,
) -> str:
    """Return the model card of a run in Markdown, from the same facts as ``results.json``.

    Write the arguments that it shares with :func:`save` into one dictionary and give it
    to both; then card and results cannot contradict each other.

    Args:
        tutorial: the tutorial's name, for instance ``"malaria"``.
        profile: ``"sample"``, ``"best"`` or ``"source"``.
        seed: the one seed of the run.
        fold: ``None``, the fold's number, or ``"all"``.
        parameters: the notebook's parameters.
        index: the data frame from ``load_index`` after the split.
        figures: every figure of the run.
        main: names of the figures that a table should show first.
        title: the tutorial's name for people; ``None`` asks the registry.
        backend: the engine under Keras; ``None`` asks Keras, if it is in use.
        device: ``"CPU"`` or ``"GPU"``; ``None`` asks the engine, if it is in use.
        description: what the model is: architecture, input, what comes out.
        limitations: what is known to be wrong with model or data, a sentence each; those
            that hold for every model of the series are added.
        licence: the data's licence; ``None`` asks the registry.
        citation: how to cite the data; ``None`` asks the registry.

    Source:
        The headings follow Mitchell et al., "Model Cards for Model Reporting", 2019.
    """
    record = facts(
        tutorial=tutorial,
        profile=profile,
        seed=seed,
        fold=fold,
        parameters=parameters,
        index=index,
        figures=figures,
        main=main,
        title=title,
        backend=backend,
        device=device,
    )
    known = _dataset(tutorial, index)
    licence = licence or getattr(known, "licence", None) or "not stated: ask whoever gave it to you"
    citation = citation or getattr(known, "citation", None)
    warnings = index.attrs.get("warnings", ())  # such as that no patient is known
    sections = [
        f"# Model card: {record['title']}",
        description.strip(),
        "## Intended use\n\n"
        "Teaching. The model shows how such a network is built, measured and doubted.\n\n"
        "**Not for clinical use**: it was not made, tested or approved for decisions about "
        "patients, and must not take part in one.",
        "## Data\n\n" + _card_data(record["data"], licence, citation),
        "## Split\n\n" + _card_split(record),
        "## Figures\n\n" + _card_figures(record),
        "## Limitations\n\n"
        + _bullets([*limitations, *warnings, *_card_limitations(record, known)]),
        "## How it was made\n\n" + _card_making(record),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a figure may depend on."""
    found = {"python": platform.python_version()}
    for name, distributions in _DISTRIBUTIONS.items():
        for distribution in distributions:
            try:
                found[name] = metadata.version(distribution)
                break
            except metadata.PackageNotFoundError:
                continue
    return found


def peak_memory() -> float | None:
    """Return the largest resident memory of this process in MiB, ``None`` on Windows."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes on macOS, KiB on Linux
    return round(peak / unit, 1)


def title_of(tutorial: str) -> str:
    """Return a tutorial's name for people, from the registry if that knows it."""
    words = label(tutorial)
    return str(getattr(_dataset(tutorial), "title", None) or words[:1].upper() + words[1:])


def label(name: str) -> str:
    """Return a figure's or parameter's name for people: ``patient_auc`` → ``patient AUC``."""
    words = name.replace("_", " ").split(" ")
    return " ".join(word.upper() if word in _ACRONYMS else word for word in words)


def patients_of(data: Mapping[str, Any], part: str | None = None) -> str:
    """Return how many patients a run had, in words: ``"108 patients"``, ``"unknown patients"``.

    Args:
        data: the ``data`` of a record.
        part: of one part of the split, such as ``"test"``; None means of all images.
    """
    if not data.get("patients_known", True):
        return "unknown patients"
    counts = data if part is None else data["parts"][part]
    return f"{counts['patients']:,} patients"


def with_interval(figure: Mapping[str, Any]) -> str:
    """Return a figure of ``results.json`` as text, its 95 % interval in brackets."""
    value, low, high = (_short(figure[key]) for key in ("value", "low", "high"))
    if value == low == high:
        return value
    return f"{value} ({low}\N{EN DASH}{high})"


_FIELDS = (
    "schema",
    "tutorial",
    "title",
    "profile",
    "backend",
    "device",
    "seed",
    "fold",
    "parameters",
    "data",
    "figures",
    "main",
    "seconds",
    "peak_memory_mb",
    "versions",
)
_DATA_FIELDS = ("name", "synthetic", "images", "patients", "left_out", "split_hash")
_FIGURE_FIELDS = ("value", "low", "high", "n", "unit")
_ACRONYMS = {"auc", "roc", "cnn", "cnv", "dme", "oct", "mri"}
_DISTRIBUTIONS = {
    "helpers": ("medical-image-tutorials",),
    "keras": ("keras",),
    "tensorflow": ("tensorflow", "tensorflow-cpu"),
    "jax": ("jax",),
    "torch": ("torch",),
    "numpy": ("numpy",),
    "pandas": ("pandas",),
    "scikit-learn": ("scikit-learn",),
    "scikit-image": ("scikit-image",),
    "pillow": ("pillow",),
}


def _new_folder(parent: Path, tutorial: str) -> Path:
    """Return a folder that was made just now and that nobody else has."""
    stem = f"{tutorial}-{datetime.now():%Y%m%d-%H%M%S}"
    parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, 1000):
        folder = parent / (stem if attempt == 1 else f"{stem}-{attempt}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise FileExistsError(f"{parent} holds 1,000 runs of this second: give an output_dir.")


def _engine() -> tuple[str | None, str | None, str | None, int | None]:
    """Return engine, device, precision and how many devices train together.

    None of them is known where Keras is not in use; it is not imported here.
    """
    if "keras" not in sys.modules:
        return None, None, None, None
    import keras

    from helpers import backend

    precision = str(keras.config.dtype_policy().name)
    return backend.name(), backend.device(), precision, len(backend.training_devices())


def _dataset(tutorial: str, index: pd.DataFrame | None = None) -> object | None:
    """Return what is known of a tutorial's dataset, or of the images given in its place.

    ``None`` where the registry knows nothing.
    """
    from helpers import own_images, registry

    if index is not None and index.attrs.get("source") in own_images.SOURCES:
        return own_images.dataset_of(index)
    try:
        return registry.get(tutorial)
    except ValueError:
        return None


def _data_facts(index: pd.DataFrame, tutorial: str) -> Record:
    """Return the ``data`` part of the record."""
    parts = {}
    for part, rows in index.groupby("split", sort=True):
        if part:
            parts[str(part)] = {"images": len(rows), "patients": int(rows["patient"].nunique())}
    return {
        "name": _data_name(index, tutorial),
        "synthetic": bool(index.attrs.get("synthetic", False)),
        "patients_known": bool(index.attrs.get("patients_known", True)),
        "images": len(index),
        "patients": int(index["patient"].nunique()),
        "left_out": len(index.attrs.get("left_out", ())),
        "split_hash": _split_hash(index),
        **({"test_hash": _split_hash(index[index["split"] == "test"])} if "test" in parts else {}),
        "parts": parts,
    }


def _data_name(index: pd.DataFrame, tutorial: str) -> str:
    """Return the dataset's name, or that of the MedMNIST file in its place."""
    if index.attrs.get("source") == "medmnist":
        from helpers import medmnist

        return medmnist.name_of(index)
    return str(index.attrs.get("dataset", tutorial))


def _split_hash(index: pd.DataFrame) -> str:
    """Return 16 hexadecimal digits that are equal for equal splits, on every machine."""
    root = PurePath(str(index.attrs.get("root", "")))
    lines = []
    for name, part in zip(index["path"], index["split"], strict=True):
        path = PurePath(str(name))
        inside = path.relative_to(root) if path.is_relative_to(root) else path
        lines.append(f"{inside.as_posix()}\t{part}\n")
    text = "".join(sorted(lines)).encode("utf-8", "surrogateescape")
    return hashlib.sha256(text).hexdigest()[:16]


def _figure_facts(figure: Figure, data: Record) -> Record:
    """Return one figure as plain numbers, rounded beyond what anybody can measure.

    Where nobody knows the patients each image counts as one, and the unit says images.
    """
    unknown = figure.unit == "patients" and not data["patients_known"]
    return {
        "value": round(float(figure.value), 6),
        "low": round(float(figure.low), 6),
        "high": round(float(figure.high), 6),
        "n": int(figure.n),
        "unit": "images" if unknown else str(figure.unit),
    }


def _plain(value: object, name: str) -> str | int | float | bool | None:
    """Return a parameter as JSON knows it."""
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "item"):
        value = value.item()  # a number of numpy's
    if not isinstance(value, str | int | float | bool | None):
        raise ValueError(
            f"The parameter {name} is a {type(value).__name__}; results.json takes texts, numbers, "
            "true, false and None."
        )
    return value


def _check_data(data: object) -> None:
    """Raise ValueError where the ``data`` part does not fit."""
    data = _table(data, "data")
    _keys(data, "data", _DATA_FIELDS, optional=("parts", "patients_known", "test_hash"))
    _text(data["name"], "data.name", empty=False)
    for name in ("synthetic", "patients_known"):
        if not isinstance(data.get(name, True), bool):
            raise ValueError(f"data.{name} is {data[name]!r}, expected true or false.")
    for name in ("images", "patients", "left_out"):
        _whole(data[name], f"data.{name}", lowest=0)
    for name in ("split_hash", "test_hash"):
        code = data.get(name, "0" * 16)
        if not isinstance(code, str) or not re.fullmatch("[0-9a-f]{16}", code):
            raise ValueError(f"data.{name} is {code!r}, expected 16 hex digits.")
    for part, counts in _table(data.get("parts", {}), "data.parts").items():
        counts = _table(counts, f"data.parts.{part}")
        _keys(counts, f"data.parts.{part}", ("images", "patients"))
        for name, count in counts.items():
            _whole(count, f"data.parts.{part}.{name}", lowest=0)


def _check_figures(figures: object, main: object) -> None:
    """Raise ValueError where a figure does not fit or ``main`` names one that is not there."""
    figures = _table(figures, "figures")
    if not figures:
        raise ValueError("figures is empty: a run has at least one.")
    for name, figure in figures.items():
        figure = _table(figure, f"figures.{name}")
        _keys(figure, f"figures.{name}", _FIGURE_FIELDS)
        for part in ("value", "low", "high"):
            _number(figure[part], f"figures.{name}.{part}")
        if not figure["low"] <= figure["value"] <= figure["high"]:
            raise ValueError(
                f"figures.{name}: the value {figure['value']} lies outside its interval "
                f"{figure['low']} to {figure['high']}."
            )
        _whole(figure["n"], f"figures.{name}.n", lowest=0)
        _text(figure["unit"], f"figures.{name}.unit")
    if not isinstance(main, list) or not 1 <= len(set(map(str, main))) == len(main) <= 5:
        raise ValueError("main must be a list of one to five different names of figures.")
    for name in main:
        if name not in figures:
            raise ValueError(f"main names {name!r}, which is not among the figures.")


def _table(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where} is a {type(value).__name__}, expected an object.")
    return value


def _keys(
    table: Mapping[str, Any], where: str, required: Sequence[str], optional: Sequence[str] = ()
) -> None:
    for name in required:
        if name not in table:
            raise ValueError(f"{where} lacks {name!r}.")
    for name in table:
        if name not in required and name not in optional:
            raise ValueError(f"{where} has {name!r}, which the format does not know.")


def _text(value: object, where: str, *, empty: bool = True) -> None:
    if not isinstance(value, str) or not (value or empty):
        raise ValueError(f"{where} is {value!r}, expected a text.")


def _whole(value: object, where: str, lowest: int | None = None) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{where} is {value!r}, expected a whole number.")
    _number(value, where, lowest)


def _number(value: object, where: str, lowest: int | None = None) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{where} is {value!r}, expected a finite number.")
    if lowest is not None and value < lowest:
        raise ValueError(f"{where} is {value!r}, expected {lowest} or more.")


def _no_constant(name: str) -> None:
    """Refuse ``NaN`` and ``Infinity``, which Python's reader takes and JSON does not have."""
    raise ValueError(f"{name} is no number in JSON")


def _short(value: float) -> str:
    """Return a number with three decimals where they say something, whole from 1,000 on."""
    if abs(value) >= 1000 or (float(value).is_integer() and abs(value) > 1):
        text = f"{value:,.0f}"
    else:
        text = f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
    return text.replace("-", "\N{MINUS SIGN}")


def _bullets(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {sentence.strip()}" for sentence in sentences)


def _card_data(data: Record, licence: str, citation: str | None) -> str:
    """Return the card's paragraph on the data."""
    kind = (
        "A **synthetic** sample, drawn by a program: no figure below says anything about real "
        "patients."
        if data["synthetic"]
        else "Images of real patients."
    )
    lines = [
        f"{kind} {data['images']:,} images of {patients_of(data)}; "
        f"{data['left_out']:,} files were left out because they could not be used.",
        f"Licence of the real data: {licence}",
    ]
    if citation:
        lines.append(f"Please cite: {citation}")
    return "\n\n".join(lines)


def _card_split(record: Record) -> str:
    """Return the card's paragraph on the split."""
    data = record["data"]
    fold = "one split" if record["fold"] is None else f"fold: {record['fold']}"
    text = f"Seed {record['seed']}, {fold}, hash `{data['split_hash']}`."
    if not data["parts"]:
        return text
    rows = [
        f"| {part} | {counts['images']:,} | {patients_of(data, part).removesuffix(' patients')} |"
        for part, counts in data["parts"].items()
    ]
    return "\n".join([text, "", "| part | images | patients |", "|---|---:|---:|", *rows])


def _card_figures(record: Record) -> str:
    """Return the card's table of figures, the main ones first."""
    names = [*record["main"], *(name for name in record["figures"] if name not in record["main"])]
    rows = []
    for name in names:
        if name not in record["figures"]:
            raise ValueError(f"main names {name!r}, which is not among the figures.")
        figure = record["figures"][name]
        over = f"{figure['n']:,} {figure['unit']}"
        rows.append(f"| {label(name)} | {with_interval(figure)} | {over} |")
    head = ["| figure | value (95 % interval) | over |", "|---|---|---|"]
    said = ["Measured on the test part, which was read once."]
    if "gain_by_image" in record["figures"]:
        said.append(
            "«By patient», «by image» and «gain» are not about this model: they compare the two "
            "ways to split, with the frozen backbone over all folds."
        )
    return "\n".join([" ".join(said), "", *head, *rows])


def _card_limitations(record: Record, known: object | None) -> list[str]:
    """Return the limitations that the registry knows of, and those of every such model."""
    defects = getattr(known, "defects", None) or ()
    sentences = [str(defect) for defect in defects]
    if record["data"]["synthetic"]:
        sentences.append("Trained on drawn images: useless on real ones, and meant to be.")
    return [
        *sentences,
        "Trained and tested on one collection: other microscopes, scanners, stains, clinics and "
        "people than those in it were never seen, and figures there will be lower.",
        "The intervals show what other patients of the same collection might have given, not "
        "what another training run or another clinic would.",
    ]


def _card_making(record: Record) -> str:
    """Return the card's last paragraph: settings and versions.

    A notebook shows its card, and is to read alike whatever computed it: engine, device and
    seconds stand in ``results.json`` alone.
    """
    chosen = {name: value for name, value in record["parameters"].items() if value is not None}
    settings = ", ".join(f"`{name} = {value!r}`" for name, value in chosen.items())
    installed = ", ".join(f"{name} {version}" for name, version in versions().items())
    return _bullets(
        [
            f"Profile `{record['profile']}`; what computed it, and for how long, stands in "
            f"`{FILE_NAME}`",
            f"Parameters that were set: {settings or 'none'}",
            f"Versions: {installed}",
        ]
    )
