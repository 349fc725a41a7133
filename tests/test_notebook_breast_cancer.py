"""What is special to the breast cancer notebook: slides of one patient, views.

The rules that all notebooks obey are tested in ``test_notebooks.py``.
"""

from __future__ import annotations

import ast

import numpy as np
from stored import cell, order, printed, shown


def test_the_views_are_decided_before_the_test_part_is_read() -> None:
    cells = order("breast_cancer")
    assert cells.index("choose") < cells.index("views") < cells.index("test-scores")


def test_the_articles_network_has_its_number_of_parameters() -> None:
    assert "18,333,506 parameters" in printed("breast_cancer", "article-model")


def test_slides_that_differ_in_letters_are_shown_as_one_patient() -> None:
    slides, patients = (
        int(word) for word in printed("breast_cancer", "groups").split() if word.isdigit()
    )
    assert slides > patients
    table = shown("breast_cancer", "groups")
    assert "18842D" in table
    assert "13412" in table


def test_always_benign_is_accurate_and_worthless() -> None:
    said = printed("breast_cancer", "always-benign")
    assert "accuracy 0.98" in said
    assert "sensitivity 0.00" in said
    assert "kappa 0.00" in said


def test_zoomed_by_one_is_the_picture_and_by_minus_one_its_mirror() -> None:
    tree = ast.parse(cell("breast_cancer", "zoom").source)
    own = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    names: dict[str, object] = {"np": np}
    exec(compile(ast.Module(own, []), "zoom", "exec"), names)
    zoomed = names["zoomed"]
    assert callable(zoomed)
    picture = np.arange(8 * 8 * 3).reshape(8, 8, 3)
    np.testing.assert_array_equal(zoomed(picture, (1, 1)), picture)
    # the middle lies between two pixels, so the mirror image is one pixel off
    np.testing.assert_array_equal(zoomed(picture, (-1, -1))[1:, 1:], picture[:0:-1, :0:-1])
