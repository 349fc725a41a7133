"""What is special to the pneumonia notebook: the closed test part, the article's matrix.

The rules that all notebooks obey are tested in ``test_notebooks.py``.
"""

from __future__ import annotations

from stored import cell, order, printed, shown


def test_thresholds_and_prior_are_fixed_before_the_test_part_is_read() -> None:
    cells = order("pneumonia")
    assert cells.index("threshold") < cells.index("evaluate") < cells.index("prior")
    # the correction knows the training share and a parameter, never the share in the test part
    source = cell("pneumonia", "prior").source
    assert 'else train["label"].mean()' in source
    assert "taught, expected_share" in source
    assert not {"truth.mean()", 'test["label"]'} & set(source.split())


def test_the_articles_matrix_gives_the_figures_that_it_swapped() -> None:
    said = printed("pneumonia", "swap")
    assert "342/413 = 0.828   printed: 0.95" in said
    assert "342/360 = 0.950   printed: 0.82" in said
    assert "505/594 = 0.850   printed: 0.81" in said
    assert "healthy 234 of 234, ill 360 of 390" in said


def test_the_articles_network_has_its_size() -> None:
    said = printed("pneumonia", "article-model") + shown("pneumonia", "article-model")
    assert "at 150 pixels: 2,424,194 parameters" in said
