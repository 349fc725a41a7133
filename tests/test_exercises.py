"""Answers of readers: right, wrong and not yet given."""

from __future__ import annotations

import pytest

from helpers.exercises import check


def test_an_answer_that_is_not_there_yet() -> None:
    assert check(None, 0.9) == (
        "Not answered yet: put your number in place of None and run the cell again."
    )


@pytest.mark.parametrize("answer", [0.9, 0.9049, 0.8951, 9 / 10])
def test_a_right_answer(answer: float) -> None:
    assert check(answer, 0.9) == "Right: 0.900."


@pytest.mark.parametrize(("answer", "side"), [(0.906, "high"), (0.894, "low"), (90, "high")])
def test_a_wrong_answer_says_which_way(answer: float, side: str) -> None:
    said = check(answer, 0.9, hint="Count patients.")
    assert said == f"Not yet: {answer} is too {side}. Count patients."
    assert "0.9" not in check(90, 0.9)  # the solution is not given away


def test_the_tolerance_is_in_the_unit_of_the_answer() -> None:
    assert check(41, 40, tolerance=1) == "Right: 40.000."
    assert check(42, 40, tolerance=1) == "Not yet: 42 is too high."


def test_a_zero_is_an_answer() -> None:
    assert check(0, 0.0) == "Right: 0.000."
    assert check(0, 0.5) == "Not yet: 0 is too low."


def test_no_number_is_no_right_answer() -> None:
    assert not check(float("nan"), 0.5).startswith("Right")
