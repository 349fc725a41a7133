"""The synthetic malaria cells: same pixels for a seed, real layout and names, known damage."""

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from helpers import samples
from helpers.index import load_index
from helpers.samples import malaria

PATIENTS, CELLS = 8, 64
PIXELS = "a9180835bb6a5e45a830c046913b60136ee273c67bd34ccf6e141046406d87b1"
"""Over names and decoded pixels of seed 0; when it changes on purpose, raise VERSION."""
NAME = re.compile(r"^(C\d+.*?)_IMG_(\d{8}_\d{6}a?)_cell_(\d+)\.png$")


def test_a_notebooks_sample_that_cannot_be_written_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the image cache does, which lies in the same place."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("TUTORIALS_DATA", str(tmp_path / "file" / "home"))
    with pytest.raises(OSError, match=r"The synthetic sample in .*cannot be written") as caught:
        load_index("malaria", None)
    assert "set the environment variable TUTORIALS_DATA to a folder" in str(caught.value)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small sample, seed 0."""
    folder = tmp_path_factory.mktemp("samples") / "malaria"
    malaria.draw(folder, seed=0, patients=PATIENTS, cells=CELLS)
    return folder


def read(folder: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return pixels by class/name, and the PNG files that cannot be read."""
    pictures, damaged = {}, []
    for path in sorted((folder / "cell_images").glob("*/*.png")):
        name = f"{path.parent.name}/{path.name}"
        try:
            with Image.open(path) as picture:
                pictures[name] = np.asarray(picture)
        except (OSError, UnidentifiedImageError, SyntaxError):
            damaged.append(name)
    return pictures, damaged


def pixel_hash(folder: Path) -> str:
    """Return a hash over names and decoded pixels, not over the compressed files."""
    total = hashlib.sha256()
    for name, pixels in read(folder)[0].items():
        total.update(f"{name} {pixels.shape}".encode())
        total.update(pixels.tobytes())
    return total.hexdigest()


def patient_map(path: Path) -> dict[str, list[str]]:
    """Return names by patient from one of NLM's maps, read as plain text."""
    lines = path.read_bytes().decode("ascii").split("\r\n")
    assert lines.pop() == ""
    assert len({line.count(",") for line in lines}) == 1
    names = {}
    for line in lines:
        patient, rest = line.split(",", 1)
        found = re.fullmatch(r"\[('[^']+'(?:, '[^']+')*)\],*", rest)
        assert found, line
        names[patient] = re.findall(r"'([^']+)'", found[1])
    return names


def test_a_seed_gives_the_same_pixels_on_every_machine(drawn: Path) -> None:
    assert pixel_hash(drawn) == PIXELS, "raise malaria.VERSION and store the new hash"


def test_another_seed_gives_other_pixels(drawn: Path, tmp_path: Path) -> None:
    malaria.draw(tmp_path / "other", seed=1, patients=PATIENTS, cells=CELLS)
    assert pixel_hash(tmp_path / "other") != PIXELS


def test_the_folders_are_those_of_the_archive(drawn: Path) -> None:
    top = {path.name for path in drawn.iterdir()}
    maps = {f"patientid_cellmapping_{kind.lower()}.csv" for kind in malaria.CLASSES}
    assert top == {"cell_images"} | maps
    assert {path.name for path in (drawn / "cell_images").iterdir()} == set(malaria.CLASSES)
    for kind in malaria.CLASSES:
        thumbs = drawn / "cell_images" / kind / "Thumbs.db"
        assert thumbs.read_bytes().startswith(bytes.fromhex("d0cf11e0a1b11ae1"))


def test_counts_and_names(drawn: Path) -> None:
    pictures, damaged = read(drawn)
    assert len(pictures) == CELLS
    identifiers = set()
    for name in [*pictures, *damaged]:
        found = NAME.match(name.partition("/")[2])
        assert found, name
        identifiers.add(found[1])
    assert len({name.partition("/")[2] for name in pictures}) == CELLS
    # One slide under two microscopes: one id more than there are patients.
    assert len(identifiers) == PATIENTS + 1
    assert {"C47P8thin_Original_Motic", "C47P8thinOriginalOlympusCX21"} <= identifiers


def test_the_maps_agree_with_the_files(drawn: Path) -> None:
    for kind in malaria.CLASSES:
        listed = patient_map(drawn / f"patientid_cellmapping_{kind.lower()}.csv")
        files = {path.name for path in (drawn / "cell_images" / kind).glob("*.png")}
        assert {name for names in listed.values() for name in names} == files
        assert all(
            name.startswith(f"{patient}_IMG_")
            for patient, names in listed.items()
            for name in names
        )
    infected, healthy = (
        set(patient_map(drawn / f"patientid_cellmapping_{kind.lower()}.csv"))
        for kind in malaria.CLASSES
    )
    assert infected < healthy  # some patients have healthy cells only


def test_some_files_are_damaged(drawn: Path) -> None:
    _, damaged = read(drawn)
    sizes = [(drawn / "cell_images" / name).stat().st_size for name in damaged]
    heads = [(drawn / "cell_images" / name).read_bytes()[:4] for name in damaged]
    assert len(damaged) == 4
    assert sizes.count(0) == 1
    assert heads.count(b"\x89PNG") == 2  # truncated
    assert b"404 " in heads  # a text file called .png


def test_pictures_look_like_cut_out_cells(drawn: Path) -> None:
    pictures, _ = read(drawn)
    assert len({pixels.shape for pixels in pictures.values()}) > CELLS // 2
    for name, pixels in pictures.items():
        assert pixels.dtype == np.uint8
        assert pixels.ndim == 3
        assert min(pixels.shape[:2]) >= 20, name
        assert max(pixels.shape[:2]) <= 400, name
        cell: np.ndarray = np.max(pixels, axis=2) > 0
        assert 0.2 < cell.mean() < 0.95, name
        assert not cell[0, 0] or not cell[-1, -1] or not cell[0, -1], name
        # Cut out tightly: the cell touches all four sides.
        assert all(side.any() for side in (cell[0], cell[-1], cell[:, 0], cell[:, -1])), name


def test_the_plan_at_its_usual_size() -> None:
    slides = malaria._plan(0, 40, 1000)
    people: dict[str, list[malaria.Cell]] = {}
    for slide in slides:
        person = "C47P8" if slide.identifier.startswith("C47P8") else slide.identifier
        people.setdefault(person, []).extend(slide.cells)
    cells = [cell for own in people.values() for cell in own]
    assert len(people) == 40
    assert len(cells) == len({cell.name for cell in cells}) == 1000
    assert all(12 <= len(own) <= 45 for own in people.values())
    mixed = [own for own in people.values() if any(cell.infected for cell in own)]
    assert len(mixed) == 30
    assert 0.42 < np.mean([cell.infected for cell in cells]) < 0.58
    wrong = np.mean([cell.infected != (cell.folder == "Parasitized") for cell in cells])
    assert 0.01 < wrong < 0.04


@pytest.mark.parametrize(("patients", "cells"), [(2, 8), (5, 20), (4, 900)])
def test_odd_sizes_can_be_planned(patients: int, cells: int) -> None:
    slides = malaria._plan(3, patients, cells)
    names = [cell.name for slide in slides for cell in slide.cells]
    assert len(names) == len(set(names)) == cells


def test_too_few_cells_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 2 patients"):
        malaria.draw(tmp_path / "a", patients=10, cells=20)
    with pytest.raises(ValueError, match="seed is -1"):
        samples.draw("malaria", tmp_path / "a", seed=-1)
    assert not list(tmp_path.iterdir())


def test_nothing_half_made_stays_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn_so_far = []

    def full_disk(picture: np.ndarray, path: Path) -> None:
        drawn_so_far.append(path)
        path.write_bytes(b"half")
        if len(drawn_so_far) == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(malaria, "_save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        malaria.draw(tmp_path / "sample", patients=4, cells=16)
    assert not list(tmp_path.iterdir())


def test_a_filled_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="ascii")
    with pytest.raises(FileExistsError, match="not empty"):
        malaria.draw(tmp_path, patients=2, cells=8)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_dispatch_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert samples.version("malaria") == malaria.VERSION
    assert "malaria" in samples.names()
    asked = []
    monkeypatch.setattr(malaria, "draw", lambda folder, seed: asked.append((folder, seed)))
    samples.draw("malaria", str(tmp_path / "x"), seed=5)
    assert asked == [(tmp_path / "x", 5)]


@pytest.mark.parametrize("name", ["malria", "", "os", "__init__"])
def test_an_unknown_name_is_a_clear_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no synthetic sample called .*malaria"):
        samples.draw(name, tmp_path / "x")
    with pytest.raises(ValueError, match="no synthetic sample"):
        samples.version(name)
