"""A run's figures stand beside those published for the same images, and beside no others."""

from dataclasses import replace

import pandas as pd
import pytest

from helpers import metrics, published, registry

FIGURES = {
    "accuracy": metrics.Estimate(0.9, 0.85, 0.95, 20),
    "auc": metrics.Estimate(0.95, 0.9, 0.99, 20),
}


def table(name: str, source: str) -> pd.DataFrame:
    index = pd.DataFrame()
    index.attrs["source"] = source
    return published.beside(FIGURES, registry.get(name), index, ["accuracy", "auc"])


def test_a_run_on_the_archive_stands_beside_figures_of_the_archive() -> None:
    shown = table("pneumonia", "archive")
    assert shown.loc["this run", "accuracy"].replace("\u2060", "") == "0.900\u00a0(0.850–0.950)"
    assert shown.loc["Kermany 2018, Cell 172:1122", "auc"] == "0.968"  # and not its other question
    assert not shown.index.str.contains("MedMNIST v2").any()


def test_a_run_on_medmnist_stands_beside_its_published_table() -> None:
    shown = table("pneumonia", "medmnist")
    best = shown[shown.index.str.contains("AutoML")]
    assert best[["accuracy", "auc"]].to_numpy().tolist() == [["0.946", "0.991"]]
    assert not shown.index.str.contains("Kermany").any()
    assert table("oct", "medmnist")["accuracy"].tolist()[1:] == ["0.776", "0.905"]


def test_a_figure_that_was_not_published_stays_empty() -> None:
    shown = table("oct", "medmnist")
    assert shown["auc"].tolist()[1:] == ["", ""]


def test_a_split_that_is_not_by_patient_says_so() -> None:
    shown = table("pneumonia", "archive")
    assert shown.loc["arXiv 2601.00837", "how it was measured"].startswith("NOT BY PATIENT")


def test_a_run_on_the_synthetic_sample_says_that_it_cannot_be_compared() -> None:
    assert "no comparison" in table("malaria", "sample").index[0]


def test_images_of_ones_own_have_no_published_figures() -> None:
    own = pd.DataFrame()
    own.attrs["source"] = "csv"
    known = registry.get("malaria")
    shown = published.beside(FIGURES, replace(known, published=()), own, ["accuracy"])
    assert shown.index.tolist() == ["this run"]


@pytest.mark.parametrize("name", registry.names())
def test_every_published_figure_belongs_to_images_that_exist(name: str) -> None:
    for one in registry.get(name).published:
        assert one.images and set(one.images) <= {"archive", "medmnist"}
