"""The synthetic BreakHis sections: same pixels for a seed, real tree and names, known damage."""

import hashlib
import re
from collections import defaultdict
from pathlib import Path, PurePath

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from helpers import samples
from helpers.datasets.breast_cancer import describe, patient_of
from helpers.samples import breast_cancer

PATIENTS, IMAGES = 9, 60
pytestmark = pytest.mark.slow  # most look at one sample, drawn for all of them
PIXELS = "d8e668d1b94da342a74b5ed19689ee84e15c1b1d1f3b467216b7af4fda8da21d"
"""Over names and pixels before encoding, seed 0; when it changes on purpose, raise VERSION."""
NAME = re.compile(r"SOB_([BM])_([A-Z]+)-14-(\d+[A-Z]*)-(40|100|200|400)-\d{3}\.png")
CLASS_OF = {"B": "benign", "M": "malignant"}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small sample, seed 0."""
    folder = tmp_path_factory.mktemp("samples") / "breast_cancer"
    breast_cancer.draw(folder, seed=0, patients=PATIENTS, images=IMAGES)
    return folder


def read(folder: Path) -> tuple[dict[PurePath, np.ndarray], list[Path]]:
    """Return pixels by path below the folder, and the PNG files that cannot be read."""
    pictures, damaged = {}, []
    for path in sorted(folder.rglob("SOB*.png")):
        try:
            with Image.open(path) as picture:
                pictures[path.relative_to(folder)] = np.asarray(picture.convert("RGB"))
        except (OSError, UnidentifiedImageError, SyntaxError):
            damaged.append(path)
    return pictures, damaged


def known(pictures: dict[PurePath, np.ndarray]) -> list[PurePath]:
    """Return the paths whose names have a subtype that exists."""
    return [path for path in pictures if "_XC-" not in path.name]


def plan_hash(seed: int) -> str:
    """Return a hash over names and pixels, as they are before they are encoded."""
    total = hashlib.sha256()
    for slide in breast_cancer._plan(seed, PATIENTS, IMAGES):
        for view in slide.views:
            total.update(f"{slide.folder} {view.name}".encode())
            total.update(breast_cancer.draw_view(slide, view).tobytes())
    return total.hexdigest()


def test_a_seed_gives_the_same_pixels_on_every_machine() -> None:
    assert plan_hash(0) == PIXELS, "raise breast_cancer.VERSION and store the new hash"


def test_another_seed_gives_other_pixels() -> None:
    first, other = (breast_cancer._plan(seed, PATIENTS, IMAGES)[0] for seed in (0, 1))
    assert not np.array_equal(breast_cancer.draw_view(first, first.views[0]),
                              breast_cancer.draw_view(other, other.views[0]))  # fmt: skip


def test_the_tree_is_that_of_the_archive(drawn: Path) -> None:
    pictures, damaged = read(drawn)
    for path in [*known(pictures), *(one.relative_to(drawn) for one in damaged)]:
        found = NAME.fullmatch(path.name)
        assert found, path
        letter, subtype, slide, magnification = found.groups()
        assert (subtype in breast_cancer.BENIGN) == (letter == "B")
        assert path.parent == PurePath(
            "BreaKHis_v1/histology_slides/breast", CLASS_OF[letter], "SOB",
            breast_cancer.SUBTYPES[subtype], f"SOB_{letter}_{subtype}_14-{slide}",
            f"{magnification}X",
        )  # fmt: skip


def test_every_slide_has_all_four_magnifications(drawn: Path) -> None:
    seen: dict[str, set[str]] = defaultdict(set)
    for path in known(read(drawn)[0]):
        seen[path.parts[-3]].add(path.parts[-2])
    assert len(seen) == 14  # nine patients, five of them with two slides
    assert all(folders == {"40X", "100X", "200X", "400X"} for folders in seen.values())


def test_slides_of_one_patient_differ_in_letters_or_subtype_only(drawn: Path) -> None:
    slides: dict[str, set[str]] = defaultdict(set)
    classes: dict[str, set[str]] = defaultdict(set)
    for path in known(read(drawn)[0]):
        patient = patient_of(path.name)
        assert patient is not None
        slides[patient].add(path.parts[-3])
        classes[patient].add(path.parts[3])
    assert len(slides) == PATIENTS
    assert slides["14-18842"] == {"SOB_M_MC_14-18842", "SOB_M_MC_14-18842D"}
    assert slides["14-29960"] == {"SOB_B_F_14-29960AB", "SOB_B_A_14-29960CD"}
    assert slides["14-13412"] == {"SOB_M_DC_14-13412", "SOB_M_LC_14-13412"}
    assert all(len(own) == 1 for own in classes.values())


def test_counts_sizes_and_names(drawn: Path) -> None:
    pictures, _ = read(drawn)
    assert len(known(pictures)) == len({path.name for path in known(pictures)}) == IMAGES
    for path, pixels in pictures.items():
        assert pixels.shape == (115, 175, 3), path
        assert abs(pixels.shape[1] / pixels.shape[0] - 700 / 460) < 0.01


def test_pictures_look_like_stained_tissue(drawn: Path) -> None:
    pictures, _ = read(drawn)
    means = np.array([pixels.mean(axis=(0, 1)) for pixels in pictures.values()])
    assert (means > 90).all()  # bright field
    assert (means[:, 1] < means[:, [0, 2]].max(axis=1)).mean() > 0.8  # pink to violet, not green
    assert min(pixels.std() for pixels in pictures.values()) > 5


def test_patients_differ_in_stain_more_than_their_own_pictures() -> None:
    slides = breast_cancer._plan(0, 44, 900)[:30:2]
    own = np.array([[breast_cancer.draw_view(slide, view).mean(axis=(0, 1))
                     for view in slide.views[:4]] for slide in slides])  # fmt: skip
    assert (own.mean(axis=1).std(axis=0) > 1.4 * own.std(axis=1).mean(axis=0)).all()


def test_nuclei_of_cancer_are_larger_but_the_classes_overlap() -> None:
    slides = breast_cancer._plan(0, 44, 900)
    sizes = {letter: [slide.radius for slide in slides if slide.letter == letter]
             for letter in "BM"}  # fmt: skip
    assert np.mean(sizes["M"]) > 1.2 * np.mean(sizes["B"])
    views = [view for slide in slides for view in slide.views]
    beside = np.mean([view.shows != "lesion" for view in views])
    assert 0.05 < beside < 0.2  # pictures that have their slide's label and show no tumour


def test_some_files_are_damaged_and_some_are_strays(drawn: Path) -> None:
    pictures, damaged = read(drawn)
    contents = [path.read_bytes() for path in damaged]
    assert len(contents) == 4
    assert contents.count(b"") == 1
    assert sum(content.startswith(b"\x89PNG") for content in contents) == 2  # truncated
    assert sum(content.startswith(b"404 ") for content in contents) == 1
    unknown = [path for path in pictures if "_XC-" in path.name]
    assert len(unknown) == 1
    with pytest.raises(ValueError, match="unknown subtype 'XC'"):
        describe(unknown[0])
    names = {path.name for path in drawn.rglob("*") if path.is_file()}
    assert {"Thumbs.db", ".DS_Store"} <= names
    assert sum(name.startswith("._SOB") for name in names) == 1


def test_the_plan_at_its_usual_size() -> None:
    slides = breast_cancer._plan(0, 44, 900)
    views = [view for slide in slides for view in slide.views]
    assert len({slide.patient for slide in slides}) == 44
    assert len(slides) == 49
    assert {slide.subtype for slide in slides} == set(breast_cancer.SUBTYPES)
    assert len({slide.patient for slide in slides if slide.subtype == "PT"}) == 3
    assert len(views) == len({view.name for view in views}) == 900
    share = np.mean([slide.letter == "M" for slide in slides for _ in slide.views])
    assert 0.58 < share < 0.75
    counts = [sum(view.magnification == each for view in views)
              for each in breast_cancer.MAGNIFICATIONS]  # fmt: skip
    assert max(counts) < 1.25 * min(counts)


@pytest.mark.parametrize(("patients", "images"), [(6, 36), (12, 68), (60, 400)])
def test_odd_sizes_can_be_planned(patients: int, images: int) -> None:
    slides = breast_cancer._plan(3, patients, images)
    names = [view.name for slide in slides for view in slide.views]
    assert len(names) == len(set(names)) == images
    assert {slide.letter for slide in slides} == {"B", "M"}
    assert len({slide.patient for slide in slides}) == patients


def test_too_few_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 6"):
        breast_cancer.draw(tmp_path / "a", patients=2)
    with pytest.raises(ValueError, match="at least 4 images"):
        breast_cancer.draw(tmp_path / "a", patients=10, images=20)
    with pytest.raises(ValueError, match="seed is -1"):
        samples.draw("breast_cancer", tmp_path / "a", seed=-1)
    assert not list(tmp_path.iterdir())


def test_nothing_half_made_stays_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn_so_far = []

    def full_disk(picture: np.ndarray, path: Path) -> None:
        drawn_so_far.append(path)
        path.write_bytes(b"half")
        if len(drawn_so_far) == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(breast_cancer, "_save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        breast_cancer.draw(tmp_path / "sample", patients=6, images=40)
    assert not list(tmp_path.iterdir())


def test_a_filled_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="ascii")
    with pytest.raises(FileExistsError, match="not empty"):
        breast_cancer.draw(tmp_path, patients=6, images=40)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
