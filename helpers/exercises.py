"""Exercises that check themselves: an answer comes in, a sentence comes out."""

from __future__ import annotations


def check(
    answer: float | None, solution: float, *, tolerance: float = 0.005, hint: str = ""
) -> str:
    """Return what to tell a reader about a number they worked out.

    Args:
        answer: the reader's number; None as long as they have not tried.
        solution: the right one.
        tolerance: how far off still counts as right, in the same unit.
        hint: added to the sentence about a wrong answer.
    """
    if answer is None:
        return "Not answered yet: put your number in place of None and run the cell again."
    if abs(answer - solution) <= tolerance:
        return f"Right: {solution:.3f}."
    side = "high" if answer > solution else "low"
    return f"Not yet: {answer} is too {side}. {hint}".strip()
