"""Results: the folder, the file and its format, the model card."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pandas as pd
import pytest
from tiny_notebooks import record

import helpers
from helpers import results

SCHEMA = json.loads((Path(helpers.__file__).parent / "results.schema.json").read_text())


@dataclass(frozen=True)
class Estimate:
    """The same fields as ``helpers.metrics.Estimate``."""

    value: float
    low: float
    high: float
    n: int = 9
    unit: str = "patients"


def index(folder: str = "/data/cells", parts: str = "ttvt") -> pd.DataFrame:
    """Return a data frame of four images of three patients, as the loader and splits give it."""
    frame = pd.DataFrame(
        {
            "path": [f"{folder}/Parasitized/{name}.png" for name in "abcd"],
            "patient": ["p1", "p1", "p2", "p3"],
            "split": [{"t": "train", "v": "valid", "e": "test"}[part] for part in parts],
        }
    )
    frame.attrs = {
        "dataset": "malaria",
        "root": folder,
        "synthetic": True,
        "left_out": [{"path": "x", "reason": "empty"}],
    }
    return frame


def arguments(**changes: object) -> dict[str, Any]:
    """Return what a notebook gives to ``save`` and ``model_card`` alike."""
    return {
        "tutorial": "malaria",
        "profile": "sample",
        "seed": 0,
        "fold": None,
        "parameters": {"profile": "sample", "data_dir": Path("/data"), "epochs": None},
        "index": index(),
        "figures": {"auc": Estimate(0.9, 0.8, 0.95), "patients": Estimate(9, 9, 9)},
        "main": ["auc"],
        "backend": "tensorflow",
        "device": "CPU",
    } | changes


def test_folder_is_made_below_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without output_dir each run gets a folder of its own, also within one second."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(results.RUNS_VARIABLE, raising=False)
    first, second = (results.output_folder(None, "malaria") for _ in range(2))
    assert first != second
    assert first.parent == tmp_path / "runs"
    assert first.name.startswith("malaria-")
    assert (second / "figures").is_dir()
    monkeypatch.setenv(results.RUNS_VARIABLE, "elsewhere")
    assert results.output_folder(None, "malaria").parent == tmp_path / "elsewhere"


def test_folder_with_results_is_refused(tmp_path: Path) -> None:
    """A given folder may exist, but not hold the results of another run."""
    folder = results.output_folder(str(tmp_path / "mine"), "malaria")
    assert results.output_folder(str(folder), "malaria") == folder
    results.save(folder, started=time.perf_counter(), **arguments())
    with pytest.raises(FileExistsError, match="already holds the results"):
        results.output_folder(str(folder), "malaria")


def test_saved_results_fit_the_schema(tmp_path: Path) -> None:
    """What is saved is what the published schema says, and reads back the same."""
    path = results.save(tmp_path, started=time.perf_counter() - 5, **arguments())
    written = json.loads(path.read_text())
    jsonschema.validate(written, SCHEMA)
    assert results.load(tmp_path) == results.load(path) == written
    assert written["title"] == "Malaria parasites in red blood cells"
    assert 5 <= written["seconds"] < 60
    assert written["peak_memory_mb"] > 10
    assert written["parameters"]["data_dir"] == "/data"
    assert written["data"] == {
        "name": "malaria",
        "synthetic": True,
        "patients_known": True,
        "images": 4,
        "patients": 3,
        "left_out": 1,
        "split_hash": written["data"]["split_hash"],
        "parts": {"train": {"images": 3, "patients": 2}, "valid": {"images": 1, "patients": 1}},
    }
    assert {"python", "keras", "numpy", "helpers"} <= set(written["versions"])
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]  # no temporary name


def test_unknown_patients_are_not_counted_in_words(tmp_path: Path) -> None:
    """Each image counts as a patient then, and neither card nor figures call it one."""
    rows = index()
    rows.attrs["patients_known"] = False
    given = arguments(index=rows)
    written = json.loads(results.save(tmp_path, started=time.perf_counter(), **given).read_text())
    jsonschema.validate(written, SCHEMA)
    assert written["data"]["patients_known"] is False
    assert {figure["unit"] for figure in written["figures"].values()} == {"images"}
    assert results.patients_of(written["data"]) == "unknown patients"
    card = results.model_card(**given)
    assert "4 images of unknown patients" in card and "| train | 3 | unknown |" in card


def test_model_and_card_are_kept(tmp_path: Path) -> None:
    """A model is asked to save itself, a card is written as it is."""

    class Network:
        def save(self, filepath: Path) -> None:
            Path(filepath).write_bytes(b"layers")

    results.save(
        tmp_path, started=time.perf_counter(), model=Network(), card="# Card\n", **arguments()
    )
    assert (tmp_path / "model.keras").read_bytes() == b"layers"
    assert (tmp_path / "model_card.md").read_text() == "# Card\n"


def test_a_started_of_another_clock_is_refused(tmp_path: Path) -> None:
    """``time.time()`` instead of ``time.perf_counter()`` is noticed."""
    with pytest.raises(ValueError, match="perf_counter"):
        results.save(tmp_path, started=time.time(), **arguments())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"figures": {"auc": Estimate(math.nan, 0, 1)}}, r"figures\.auc\.value .* finite"),
        ({"figures": {"auc": Estimate(0.5, 0.6, 0.7)}}, "outside its interval"),
        ({"figures": {}, "main": []}, "figures is empty"),
        ({"main": ["accuracy"]}, "'accuracy', which is not among"),
        ({"main": ["auc", "auc"]}, "one to five different"),
        ({"parameters": {"sizes": [1, 2]}}, "parameter sizes is a list"),
        ({"seed": 0.5}, "seed is 0.5, expected a whole number"),
    ],
)
def test_bad_facts_are_refused_and_nothing_is_written(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    """A figure that is none never reaches a table."""
    with pytest.raises(ValueError, match=message):
        results.save(tmp_path, started=time.perf_counter(), **arguments(**changes))
    assert not list(tmp_path.iterdir())


def _without(*keys: str) -> Callable[[dict[str, Any]], None]:
    def change(record: dict[str, Any]) -> None:
        for key in keys[:-1]:
            record = record[key]
        del record[keys[-1]]

    return change


def _with(value: object, *keys: str) -> Callable[[dict[str, Any]], None]:
    def change(record: dict[str, Any]) -> None:
        for key in keys[:-1]:
            record = record[key]
        record[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        _without("seconds"),
        _without("data", "split_hash"),
        _without("figures", "auc", "unit"),
        _without("versions", "python"),
        _with(2, "schema"),
        _with(True, "schema"),
        _with("x", "surprise"),
        _with("", "tutorial"),
        _with(3, "title"),
        _with(7, "device"),
        _with(True, "seed"),
        _with(1.5, "fold"),
        _with([], "parameters"),
        _with([1], "parameters", "sizes"),
        _with(1, "data", "synthetic"),
        _with(-1, "data", "images"),
        _with("xyz", "data", "split_hash"),
        _with("xyz", "data", "test_hash"),
        _with({"images": 1}, "data", "parts", "train"),
        _with("0.9", "figures", "auc", "value"),
        _with({}, "figures"),
        _with([], "main"),
        _with(-1, "seconds"),
        _with("much", "peak_memory_mb"),
        _with(3, "versions", "keras"),
    ],
)
def test_own_checks_and_schema_agree(change: Callable[[dict[str, Any]], None]) -> None:
    """Whatever the JSON Schema refuses, ``check`` refuses too, in one line."""
    good = record()
    results.check(good)
    jsonschema.validate(good, SCHEMA)
    bad = json.loads(json.dumps(good))
    change(bad)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(bad, SCHEMA)
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        results.check(bad)


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": NaN}', "\x00"])
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    """The message says which file cannot be read."""
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(ValueError, match=r"results\.json"):
        results.load(tmp_path)


def test_a_missing_file_stays_a_missing_file(tmp_path: Path) -> None:
    """No results: the usual exception."""
    with pytest.raises(FileNotFoundError):
        results.load(tmp_path)


def test_split_hash_does_not_depend_on_the_machine() -> None:
    """Folder and order of rows do not matter, the part of one image does."""

    def code(frame: pd.DataFrame) -> str:
        facts = results.facts(**arguments(index=frame))
        return str(facts["data"]["split_hash"])

    same = index("/elsewhere")
    shuffled = index().iloc[[2, 0, 3, 1]]
    shuffled.attrs = index().attrs
    assert code(index()) == code(same) == code(shuffled)
    assert code(index()) != code(index(parts="ttvv"))


def test_the_test_hash_is_of_the_test_part_alone() -> None:
    """Other validation images, the same test; and none where nothing is tested."""

    def data(parts: str, folder: str = "/data") -> dict[str, Any]:
        facts: dict[str, Any] = results.facts(**arguments(index=index(folder, parts)))
        return dict(facts["data"])

    one, other = data("ttve"), data("tvte", "/elsewhere")
    assert one["test_hash"] == other["test_hash"]
    assert one["split_hash"] != other["split_hash"]
    assert data("ttev")["test_hash"] != one["test_hash"]
    assert "test_hash" not in data("ttvv")


def test_model_card_says_what_must_be_said() -> None:
    """Use, data, split, figures, limits, licence, versions: all there, in Markdown."""
    card = results.model_card(
        **arguments(), description="A small network.", limitations=["It knows one stain only."]
    )
    assert card.startswith("# Model card: Malaria parasites in red blood cells\n")
    for text in (
        "**Not for clinical use**",
        "**synthetic**",
        "A small network.",
        "It knows one stain only.",
        "| AUC | 0.900 (0.800\N{EN DASH}0.950) | 9 patients |",
        "| train | 3 | 2 |",
        "Licence of the real data: public",
        "PeerJ",
        "`profile = 'sample'`",
    ):
        assert text in card
    assert "epochs" not in card  # only what was set


def test_model_card_reads_alike_whatever_computed_it() -> None:
    """A notebook shows it, and is run on other devices too; ``results.json`` tells which."""
    cards = {
        results.model_card(**arguments(backend=backend, device=device))
        for backend, device in (("tensorflow", "CPU"), ("jax", "GPU"))
    }
    assert len(cards) == 1
    assert "CPU" not in cards.pop()


def test_the_precision_is_recorded(tmp_path: Path) -> None:
    """As Keras has it; a record from before there was a choice has none, and is still read."""
    import keras

    path = results.save(tmp_path, started=time.perf_counter(), **arguments())
    found = results.load(path)
    assert found["precision"] == keras.config.dtype_policy().name
    jsonschema.validate(found, SCHEMA)
    del found["precision"]
    results.check(found)
    with pytest.raises(ValueError, match="precision is 16, expected a text"):
        results.check(found | {"precision": 16})


def test_how_many_devices_trained_together_is_recorded(tmp_path: Path) -> None:
    """None is no number of them; a record from before has no such word, and is still read."""
    path = results.save(tmp_path, started=time.perf_counter(), **arguments())
    found = results.load(path)
    assert found["devices"] == 1
    jsonschema.validate(found, SCHEMA)
    with pytest.raises(ValueError, match="devices is 0, expected 1 or more"):
        results.check(found | {"devices": 0})
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(found | {"devices": 0}, SCHEMA)
    del found["devices"]
    results.check(found)


def test_model_card_without_a_registry_entry() -> None:
    """A dataset that nobody registered gets a card too, with an honest licence line."""
    card = results.model_card(**arguments(tutorial="my_cells"))
    assert "# Model card: My cells" in card
    assert "not stated" in card


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        ((0.9234, 0.9011, 0.9436), "0.923 (0.901\N{EN DASH}0.944)"),
        ((1.0, 0.98, 1.0), "1.000 (0.980\N{EN DASH}1.000)"),
        ((-0.02, -0.05, 0.01), "\N{MINUS SIGN}0.020 (\N{MINUS SIGN}0.050\N{EN DASH}0.010)"),
        ((27558, 27558, 27558), "27,558"),
        ((36, 36, 36), "36"),
    ],
)
def test_figures_as_text(figure: tuple[float, float, float], text: str) -> None:
    """Three decimals and the interval, or just a count."""
    parts = dict(zip(("value", "low", "high"), figure, strict=True))
    assert results.with_interval(parts) == text


def test_labels_are_for_people() -> None:
    """Names in snake_case become words."""
    assert results.label("patient_auc") == "patient AUC"
    assert results.label("sensitivity") == "sensitivity"
