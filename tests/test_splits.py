"""Splits: no patient on two sides, ever; and the wrong ways are as wrong as they claim."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny_images import draw_cells, frame

from helpers.index import load_index
from helpers.splits import (
    check_leaks,
    require_clean,
    say_if_by_image,
    split_by_image,
    split_by_patient,
    split_first_share,
    split_hash,
    split_official,
)


def uneven(seed: int, patients: int = 30) -> pd.DataFrame:
    """Return an index of patients with 5 to 40 images each and their own share of positives."""
    rng = np.random.default_rng(seed)
    rows: list[tuple[str, int]] = []
    for number in range(patients):
        share = rng.uniform(0, 1) if number % 4 else 0.0  # a quarter has healthy cells only
        count = int(rng.integers(5, 40))
        rows += [(f"C{number}thin", int(label)) for label in rng.random(count) < share]
    shuffled = [rows[position] for position in rng.permutation(len(rows))]
    return frame(shuffled)


@pytest.mark.parametrize("fold", [None, 0, 1, 2, 3, 4])
def test_no_patient_is_on_two_sides(fold: int | None) -> None:
    for seed in range(12):
        index = uneven(seed)
        split = split_by_patient(index, seed=seed, fold=fold)
        assert set(split["split"]) == {"train", "valid", "test"}
        assert (split.groupby("patient")["split"].nunique() == 1).all()
        assert split.drop(columns="split").equals(index.drop(columns="split"))
        assert (index["split"] == "").all()  # the original is untouched
        assert require_clean(split).clean
        # every part has both classes
        assert (split.groupby("split")["label"].nunique() == 2).all()


def test_five_folds_test_every_patient_exactly_once() -> None:
    for seed in range(5):
        index = uneven(seed)
        parts = [split_by_patient(index, seed=seed, fold=fold)["split"] for fold in range(5)]
        roles = pd.concat(parts, axis=1)
        assert ((roles == "test").sum(axis=1) == 1).all()
        assert ((roles == "valid").sum(axis=1) == 1).all()
        assert ((roles == "train").sum(axis=1) == 3).all()


def test_the_parts_have_about_the_size_and_the_mixture_they_should() -> None:
    index = frame([(f"C{number}thin", label) for number in range(50) for label in (0, 0, 1) * 4])
    for seed in range(5):
        split = split_by_patient(index, seed=seed)
        share = split["split"].value_counts(normalize=True)
        # patients are all alike here, so nothing stands in the way of exact shares
        assert share.to_dict() == pytest.approx({"train": 0.6, "valid": 0.2, "test": 0.2})
        assert split.groupby("split")["label"].mean().tolist() == pytest.approx([1 / 3] * 3)
    spread, chance = [], []
    for seed in range(10):
        index = uneven(seed, 60)
        whole = index["label"].mean()
        dealt = split_by_patient(index, seed=seed)
        spread.append((dealt.groupby("split")["label"].mean() - whole).abs().max())
        # dealing patients without a look at the classes: the folds of a plain shuffle
        names = np.random.default_rng(seed).permutation(index["patient"].unique())
        drawn = pd.Series(np.arange(60) // 12, names)[index["patient"]].clip(0, 2).to_numpy()
        chance.append((index.groupby(drawn)["label"].mean() - whole).abs().max())
    assert np.mean(spread) < np.mean(chance) / 2


def test_a_seed_fixes_the_split() -> None:
    index = uneven(3)
    first = split_by_patient(index, seed=7)["split"]
    assert first.equals(split_by_patient(index, seed=7)["split"])
    assert not first.equals(split_by_patient(index, seed=8)["split"])
    assert first.equals(split_by_patient(index, seed=7, fold=0)["split"])


def test_global_random_state_is_left_alone() -> None:
    before = np.random.get_state()[1].copy()  # type: ignore[index,union-attr]
    split_by_patient(uneven(0), seed=1)
    split_by_image(uneven(0), seed=1)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # type: ignore[index]


def test_patients_who_share_a_picture_are_dealt_to_one_side() -> None:
    rng = np.random.default_rng(0)
    index = frame([(f"C{number}thin", label) for number in range(40) for label in (0, 1) * 3])
    index["content"] = [f"{number:x}" for number in range(len(index))]
    # a chain: 0 and 1 share a picture, 1 and 2 another one, so do 10 and 30, …
    pairs = [(0, 1), (1, 2), (10, 30), (5, 25), (6, 26)]
    for first, second in pairs:
        one = index.index[index["patient"] == f"C{first}thin"]
        two = index.index[index["patient"] == f"C{second}thin"]
        index.loc[rng.choice(two), "content"] = index.loc[rng.choice(one), "content"]
    split_them = 0
    for seed in range(10):
        split = split_by_patient(index, seed=seed)
        part = split.groupby("patient")["split"].first()
        assert all(part[f"C{first}thin"] == part[f"C{second}thin"] for first, second in pairs)
        assert check_leaks(split).copies == 0
        blind = split_by_patient(index.drop(columns="content"), seed=seed)
        split_them += check_leaks(blind.assign(content=index["content"])).copies or 0
    assert split_them > 0  # without a look at the pictures they would have been parted


def test_all_patients_have_one_class_each() -> None:
    """Where a patient is either ill or well a split by patient is still possible."""
    index = frame([(f"C{number}thin", number % 2) for number in range(20) for _ in range(4)])
    for fold in range(5):
        split = split_by_patient(index, seed=0, fold=fold)
        assert (split.groupby("split")["label"].nunique() == 2).all()


@pytest.mark.parametrize(("count", "word"), [(1, "1 patient;"), (4, "4 patients;")])
def test_a_class_of_too_few_patients_is_refused(count: int, word: str) -> None:
    index = frame([(f"C{n}thin", int(n < count and k < 3)) for n in range(20) for k in range(6)])
    with pytest.raises(ValueError, match="'Parasitized'") as caught:
        split_by_patient(index, seed=0)
    assert f"comes from {word} a split by patient into 5 folds needs at least 5" in str(
        caught.value
    )
    assert "Add patients, or raise max_images" in str(caught.value)


def test_a_class_with_one_patient_is_refused_from_the_folder_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUTORIALS_DATA", str(tmp_path / "home"))
    patients = tuple(f"C{number}thin" for number in range(8))
    counts = {("Parasitized", patient): 0 for patient in patients[1:]}
    index = load_index("malaria", draw_cells(tmp_path / "data", patients, counts=counts))
    with pytest.raises(ValueError, match="'Parasitized' comes from 1 patient;"):
        split_by_patient(index, seed=0)


def test_a_part_without_a_class_is_refused() -> None:
    """Five patients are enough to be dealt, but copies can tie them together."""
    rows = [(f"C{number}thin", label) for number in range(10) for label in (0, 1) * 2]
    index = frame([(name, label * (int(name[1]) < 5)) for name, label in rows])
    index["content"] = [f"{number:x}" for number in range(len(index))]
    index.loc[index["label"] == 1, "content"] = "same"  # now the five infected are one
    with pytest.raises(ValueError, match=r"no image of the class 'Parasitized'.*another seed"):
        split_by_patient(index, seed=0)


@pytest.mark.parametrize("fold", [-1, 5])
def test_a_fold_that_is_not_there(fold: int) -> None:
    with pytest.raises(ValueError, match=f"fold={fold}: choose 0 to 4, or None"):
        split_by_patient(uneven(0), seed=0, fold=fold)
    with pytest.raises(ValueError, match=f"fold={fold}: choose 0 to 4, or None"):
        split_by_image(uneven(0), seed=0, fold=fold)


# -- the wrong ways ------------------------------------------------------------------------


def test_a_split_by_image_leaks() -> None:
    index = uneven(1)
    split = split_by_image(index, seed=0)
    share = split["split"].value_counts(normalize=True)
    assert share.to_dict() == pytest.approx({"train": 0.6, "valid": 0.2, "test": 0.2}, abs=0.01)
    leaks = check_leaks(split)
    # 30 patients with 5 to 39 images: hardly one whose images all fall into one part
    assert leaks.tainted_test > 0.95
    assert leaks.test_overlap[0] > 0.9 * leaks.test_overlap[1]
    assert not leaks.clean
    with pytest.raises(ValueError, match=r"This split leaks: \d+ patients .*Use split_by_patient"):
        require_clean(split)
    assert not split["split"].equals(split_by_image(index, seed=1)["split"])
    tested = sum((split_by_image(index, seed=0, fold=n)["split"] == "test") for n in range(5))
    assert (tested == 1).all()


def test_the_first_share_is_what_keras_takes(tmp_path: Path) -> None:
    """Compared with the old generator itself, which Keras still carries."""
    legacy = pytest.importorskip("keras.src.legacy.preprocessing.image")
    patients = ("C10P1thinF", "C9P9thinF", "c1_thin", "C100P61ThinF", "C1_thinF")
    counts = {("Parasitized", "C9P9thinF"): 1, ("Uninfected", "c1_thin"): 9}
    data = draw_cells(tmp_path / "data", patients, counts=counts, size=8)
    split = split_first_share(load_index("malaria", data), share=0.3)
    assert set(split["split"]) == {"train", "test"}
    generator = legacy.ImageDataGenerator(validation_split=0.3)
    for subset, part in (("validation", "test"), ("training", "train")):
        flow = generator.flow_from_directory(data / "cell_images", subset=subset)
        ours = split.loc[split["split"] == part, "path"]
        found = {str(Path(path).relative_to(data / "cell_images")) for path in ours}
        assert found == set(flow.filenames)


# -- the proof -----------------------------------------------------------------------------


def test_leaks_are_counted() -> None:
    rows = [("a", 0), ("a", 1), ("b", 0), ("b", 1), ("c", 0), ("c", 1), ("d", 1), ("e", 0)]
    index = frame(rows, content=["1", "2", "3", "4", "4", "5", "2", "6"])
    index["split"] = ["train", "test", "train", "valid", "test", "test", "test", "valid"]
    leaks = check_leaks(index)
    assert leaks.images == {"train": 2, "valid": 2, "test": 4}
    assert leaks.patients == {"train": 2, "valid": 2, "test": 3}
    assert leaks.shared_patients == ("a", "b")  # b is in train and valid: a leak as well
    assert leaks.shared_test_patients == 1
    assert leaks.test_overlap == (1, 3)
    assert leaks.tainted_test == 0.25
    assert leaks.copies == 1  # content 4 is in valid; content 2 is twice, but both in test
    assert not leaks.clean
    assert str(leaks).splitlines()[-3:] == [
        "patients in more than one part: 2",
        "seen before: 1 of 3 test patients (33 %), 25.0 % of test images",
        "test images that are copies of seen ones: 1",
    ]


def test_a_copy_alone_is_a_leak() -> None:
    index = frame([("a", 0), ("b", 0), ("c", 1)], content=["1", "2", "1"])
    index["split"] = ["train", "valid", "test"]
    leaks = check_leaks(index)
    assert leaks.shared_patients == ()
    assert leaks.copies == 1
    assert not leaks.clean
    with pytest.raises(ValueError, match="1 test images are copies"):
        require_clean(index)
    assert check_leaks(index.drop(columns="content")).copies is None
    assert require_clean(index.drop(columns="content")).clean


@pytest.mark.parametrize("parts", [["", "", ""], ["train", "valid", "train"], ["test"] * 3])
def test_what_was_not_split_is_not_proven_clean(parts: list[str]) -> None:
    index = frame([("a", 0), ("b", 0), ("c", 1)])
    index["split"] = parts
    with pytest.raises(ValueError, match="split"):
        require_clean(index)


def test_the_hash_is_about_names_and_parts_not_about_places() -> None:
    index = split_by_patient(uneven(0), seed=0)
    moved = index.assign(path=index["path"].str.replace("/data", "/somewhere else"))
    assert split_hash(moved) == split_hash(index)
    shuffled = index.sample(frac=1, random_state=1)
    assert split_hash(shuffled) == split_hash(index)
    other = index.copy()
    other.loc[0, "split"] = "train" if other.loc[0, "split"] != "train" else "test"
    assert split_hash(other) != split_hash(index)
    assert split_hash(index.iloc[1:]) != split_hash(index)
    assert len(split_hash(index)) == 16


def test_without_patients_the_two_splits_are_said_to_be_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    index = uneven(0)
    say_if_by_image(index)
    assert not capsys.readouterr().out
    index.attrs["patients_known"] = False
    say_if_by_image(split_by_image(index, seed=0))
    assert "No patients are known: both splits are by image" in capsys.readouterr().out


# -- the archive's own parts ---------------------------------------------------------------


def official(seed: int = 0, shared: int = 4) -> pd.DataFrame:
    """Return 40 patients in training, 2 in an official validation part and 12 in test.

    Every patient has one class, the first ``shared`` of training are in test, too, and one
    test picture is a copy of a training picture.
    """
    rng = np.random.default_rng(seed)
    rows = [
        (part, f"{part}{number}", number % 2, one)
        for part, patients in (("train", 40), ("valid", 2), ("test", 12))
        for number in range(patients)
        for one in range(rng.integers(1, 6))
    ]
    index = frame([(patient, label) for _, patient, label, _ in rows])
    index["part"] = [part for part, *_ in rows]
    index["content"] = [f"{number:x}" for number in range(len(index))]
    for number in range(shared):
        index.loc[index["patient"] == f"test{number}", "patient"] = f"train{number}"
    copied = index.index[index["patient"] == "test11"][0]
    index.loc[copied, "content"] = index.loc[index["patient"] == "train20", "content"].iloc[0]
    return index


@pytest.mark.parametrize("fold", [None, 0, 1, 2, 3, 4])
def test_the_official_test_part_stays_as_it_is(fold: int | None) -> None:
    index = official()
    split = split_official(index, seed=1, fold=fold)
    assert ((split["split"] == "test") == (index["part"] == "test")).all()
    assert split.drop(columns="split").equals(index.drop(columns="split"))
    assert (index["split"] == "").all()  # the original is untouched
    ours = split[split["split"] != "test"]
    assert (ours.groupby("patient")["split"].nunique() == 1).all()
    assert (split.groupby("split")["label"].nunique() == 2).all()
    # the official 2 patients are not the validation part: a fifth of all 42 is
    assert 7 <= split.loc[split["split"] == "valid", "patient"].nunique() <= 10


def with_validation(patients: int = 8) -> pd.DataFrame:
    """Return `official` with so many of its 40 training patients in its validation part."""
    index = official(shared=0)
    moved = {f"train{number}" for number in range(10, 10 + patients)}
    index.loc[index["patient"].isin(moved), "part"] = "valid"
    return index


def test_an_official_validation_part_worth_the_name_is_kept() -> None:
    index = with_validation()
    for seed in (0, 1):
        split = split_official(index, seed=seed)
        assert split["split"].equals(index["part"].rename("split"))
    dealt = split_official(index, seed=0, fold=0)  # a fold is asked for: it is dealt
    assert not dealt["split"].equals(index["part"].rename("split"))


def test_training_images_of_validation_patients_and_pictures_go_to_validation() -> None:
    index = with_validation()
    first = index.index[index["patient"] == "train30"][0]
    index.loc[first, "content"] = index.loc[index["part"] == "valid", "content"].iloc[0]
    stray = index.index[index["patient"] == "train12"][0]
    index.loc[stray, "part"] = "train"
    split = split_official(index, seed=0)
    linked = index["patient"].isin({"train12", "train30"})
    assert (split.loc[linked, "split"] == "valid").all()
    assert (split.loc[~linked, "split"] == index.loc[~linked, "part"]).all()
    assert not check_leaks(split).shared_patients


@pytest.mark.parametrize("patients", [0, 25])
def test_an_official_validation_part_of_no_use_is_dealt_anew(patients: int) -> None:
    split = split_official(with_validation(patients), seed=0)
    assert 7 <= split.loc[split["split"] == "valid", "patient"].nunique() <= 10


def test_an_official_validation_part_that_lacks_a_class_is_dealt_anew() -> None:
    index = with_validation(12)
    index.loc[(index["part"] == "valid") & (index["label"] == 1), "part"] = "train"
    split = split_official(index, seed=0)
    assert (split.groupby("split")["label"].nunique() == 2).all()


def test_five_folds_validate_every_training_patient_once() -> None:
    index = official()
    parts = [split_official(index, seed=3, fold=fold)["split"] for fold in range(5)]
    roles = pd.concat(parts, axis=1)[(index["part"] != "test").to_numpy()]
    assert ((roles == "valid").sum(axis=1) == 1).all()
    assert ((roles == "train").sum(axis=1) == 4).all()
    assert parts[0].equals(split_official(index, seed=3)["split"])
    assert not parts[0].equals(split_official(index, seed=4)["split"])


def test_patients_who_are_also_in_the_official_test_part_are_counted() -> None:
    index = official(shared=4)
    leaks = check_leaks(split_official(index, seed=0))
    assert leaks.test_overlap == (4, 12)
    assert leaks.copies == 1
    assert "seen before: 4 of 12 test patients (33 %)" in str(leaks)
    with pytest.raises(ValueError, match="This split leaks: 4 patients"):
        require_clean(split_official(index, seed=0))


def test_shared_patients_and_copies_are_dropped_from_training_where_asked_for() -> None:
    index = official(shared=4)
    split = split_official(index, seed=0, drop_shared=True)
    assert require_clean(split).clean
    shared = {f"train{number}" for number in range(4)}
    gone = index["patient"].isin(shared) & (index["part"] != "test")
    assert len(split) == len(index) - int(gone.sum()) - 1  # and the picture with the copy
    assert int((split["split"] == "test").sum()) == int((index["part"] == "test").sum())
    assert list(split.index) == list(range(len(split)))
    # without pixels only patients can be compared
    blind = split_official(index.drop(columns="content"), seed=0, drop_shared=True)
    assert len(blind) == len(index) - int(gone.sum())


def test_nothing_is_proved_where_no_patients_are_known() -> None:
    index = split_by_patient(uneven(0), seed=0)
    assert "seen before: 0 of" in str(check_leaks(index))
    index.attrs["patients_known"] = False
    text = str(check_leaks(index))
    assert "patients in more than one part: UNKNOWN" in text
    assert "seen before" not in text and " of " not in text.splitlines()[0]


def test_all_training_patients_in_the_test_part_leave_nothing_to_learn_from() -> None:
    index = frame([(f"p{number % 6}", number % 2) for number in range(24)])
    index["part"] = np.where(np.arange(24) < 12, "train", "test")
    with pytest.raises(ValueError, match=r"is left to learn from: 12 of 12 images outside of"):
        split_official(index, seed=0, drop_shared=True)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([""], "found: \\(none\\)"),
        (["train"], "found: train"),
        (["test", "valid"], "found: test, valid"),
        (["train", "test", ""], "found: \\(none\\), test, train"),
    ],
)
def test_without_official_parts_there_is_nothing_to_keep(parts: list[str], words: str) -> None:
    index = official()
    index["part"] = np.resize(parts, len(index))
    with pytest.raises(ValueError, match=f"without official training and test parts .{words}"):
        split_official(index, seed=0)
    with pytest.raises(ValueError, match=r"found: none.*use split_by_patient"):
        split_official(index.drop(columns="part"), seed=0)


def test_an_official_test_part_without_a_class_is_refused() -> None:
    index = official()
    index = index[(index["part"] != "test") | (index["label"] == 0)].reset_index(drop=True)
    with pytest.raises(ValueError, match="official test part has no image of the class 'Parasi"):
        split_official(index, seed=0)


@pytest.mark.parametrize("fold", [-1, 5])
def test_an_official_fold_that_is_not_there(fold: int) -> None:
    with pytest.raises(ValueError, match=f"fold={fold}: choose 0 to 4, or None"):
        split_official(official(), seed=0, fold=fold)


def test_four_classes_of_which_one_is_rare() -> None:
    rows = [(f"P{n}", label) for label, count in enumerate((60, 12, 9, 70)) for n in
            range(1_000 * label, 1_000 * label + count) for _ in range(3)]  # fmt: skip
    index = frame(rows).assign(class_name=lambda new: new["label"].map(dict(enumerate("abcd"))))
    for fold in range(5):
        split = split_by_patient(index, seed=2, fold=fold)
        assert (split.groupby("split")["label"].nunique() == 4).all()
        assert require_clean(split).clean
        assert (split_by_image(index, seed=2, fold=fold).groupby("split")["label"].nunique()
                == 4).all()  # fmt: skip
