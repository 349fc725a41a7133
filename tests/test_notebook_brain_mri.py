"""What only the brain notebook does: it doubts a table, freezes a backbone, draws outlines."""

from __future__ import annotations

import re

from stored import printed, shown


def test_the_table_names_wrong_patients_and_counts_them_rightly() -> None:
    wrong, rows, right, patients = map(int, re.findall(r"\d+", printed("brain_mri", "table-wrong")))
    assert wrong > 0.9 * rows
    assert right == patients


def test_only_the_split_by_folder_is_clean() -> None:
    blocks = dict(
        block.split("\n", 1) for block in printed("brain_mri", "split-leaks").strip().split("\n\n")
    )
    believed = "by the table, judged by its own column"
    assert set(blocks) == {"by slice", "by the table", "by folder", believed}
    clean = {name for name, text in blocks.items() if "in more than one part: 0" in text}
    assert clean == {"by folder", believed}  # whoever trusts the table sees no leak


def test_the_articles_network_has_its_number_of_parameters() -> None:
    assert "25,817,218 parameters" in printed("brain_mri", "article-model")


def test_fifty_layers_are_49_convolutions_and_a_dense_one() -> None:
    assert re.findall(r"\d+", printed("brain_mri", "fifty")) == ["53", "4", "49", "50"]


def test_the_articles_loop_freezes_nothing() -> None:
    before, after_theirs, after_ours = (
        int(line.split()[-1].replace(",", ""))
        for line in printed("brain_mri", "freeze").splitlines()
    )
    assert before == after_theirs
    assert after_ours == 25_817_218 - 23_587_712  # without ResNet50's own weights


def test_a_frozen_encoder_did_not_move() -> None:
    rows = {
        line.split()[0]: line.split()[1:]
        for line in shown("brain_mri", "where-moved").splitlines()[1:]
    }
    assert int(rows["encoder"][0]) > 50
    assert rows["encoder"][1] == "0"
    assert rows["decoder"][0] == rows["decoder"][1]


def test_drawing_nothing_is_splendid_or_worthless() -> None:
    right, empty_counts, empty_left_out, volume = (
        float(line.split()[-1]) for line in printed("brain_mri", "where-lazy").splitlines()
    )
    assert right > 0.9
    assert empty_counts > 0.5
    assert empty_left_out == volume == 0
