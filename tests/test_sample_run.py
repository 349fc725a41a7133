"""What every tutorial measured on its sample: the stored figures, and the lesson of each.

`make nbval` calls this after the notebooks, for the runs that they have just made.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from helpers import registry
from tools import expected

pytestmark = pytest.mark.slow

Records = dict[str, dict[str, Any]]


@pytest.mark.parametrize("tutorial", registry.names())
def test_it_has_the_stored_figures(tutorial: str, sample_runs: Records) -> None:
    path = expected.EXPECTED / f"{tutorial}.json"
    assert path.is_file(), "call  make expected"
    stored = json.loads(path.read_text(encoding="utf-8"))
    assert expected.differences(stored, sample_runs[tutorial]) == []


@pytest.mark.parametrize("tutorial", registry.names())
def test_it_is_hard_and_the_wrong_split_flatters(tutorial: str, sample_runs: Records) -> None:
    figures = sample_runs[tutorial]["figures"]
    assert figures["accuracy"]["value"] < 1
    assert figures["gain_by_image"]["low"] > 0
    by_image, by_patient = figures["accuracy_by_image"], figures["accuracy_by_patient"]
    assert by_image["value"] > by_patient["value"]


def test_cells_need_more_than_their_colour(sample_runs: Records) -> None:
    figures = sample_runs["malaria"]["figures"]
    assert figures["auc"]["low"] > figures["auc_mean_colour"]["value"]


def test_the_official_test_is_harder_than_a_part_of_training(sample_runs: Records) -> None:
    figures = sample_runs["pneumonia"]["figures"]
    assert figures["accuracy_by_patient"]["value"] > figures["accuracy_official_frozen"]["value"]


def test_the_network_finds_the_tumour_better_than_brightness(sample_runs: Records) -> None:
    figures = sample_runs["brain_mri"]["figures"]
    assert figures["dice"]["low"] > figures["dice_naive"]["value"]
