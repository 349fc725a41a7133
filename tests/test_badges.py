"""Badges: each leads to its own notebook, in the copy that we write and in the repository."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tools import badges
from tools.notebooks import METADATA

CHECKOUT = Path(__file__).resolve().parent.parent
REPOSITORY = "ada-lovelace/medical.image_tutorials"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A checkout with two notebooks and a README, the first notebook with a place for badges."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    place = f"# Cells\n\n{badges.BEGIN}\n{badges.END}\n\nWhat you learn."
    for name, title in (("03_malaria", place), ("04_oct two", "# Retina\n\nWhat you learn.")):
        cells = [new_markdown_cell(title, id="title"), new_code_cell("1", id="one")]
        notebook = new_notebook(cells=cells, metadata=METADATA)
        nbformat.write(notebook, folder / f"{name}.ipynb")
    (tmp_path / "README.md").write_text(
        f"# Series\n\n{badges.BEGIN}\n{badges.END}\n\nMore.\n", encoding="utf-8"
    )
    return tmp_path


def test_each_badge_leads_to_its_own_notebook(copy: Path) -> None:
    assert len(badges.write(REPOSITORY, copy)) == 3
    assert badges.complaints(copy) == []
    for path in sorted((copy / "notebooks").glob("*.ipynb")):
        title = nbformat.read(path, as_version=4).cells[0].source
        own = f"notebooks/{path.name}"
        assert badges.links(title) == [(REPOSITORY, own), (REPOSITORY, own)]
        assert title.startswith("# ")
        assert "What you learn." in title
        assert title.count(badges.BEGIN) == title.count(badges.END) == 1
    readme = (copy / "README.md").read_text(encoding="utf-8")
    assert len(badges.links(readme)) == 4
    assert readme.endswith("More.\n")


def test_a_second_call_changes_nothing(copy: Path) -> None:
    badges.write(REPOSITORY, copy)
    assert badges.write(REPOSITORY, copy) == []


def test_another_repository_replaces_the_first(copy: Path) -> None:
    badges.write(REPOSITORY, copy)
    badges.write("someone/else", copy)
    assert badges.complaints(copy) == []
    for path in (copy / "README.md", *(copy / "notebooks").glob("*.ipynb")):
        assert {repository for repository, _ in badges.links(path.read_text())} == {"someone/else"}


def test_a_badge_to_another_notebook_is_seen(copy: Path) -> None:
    badges.write(REPOSITORY, copy)
    (copy / "notebooks" / "03_malaria.ipynb").rename(copy / "notebooks" / "05_malaria.ipynb")
    wrong = " ".join(badges.complaints(copy))
    assert "05_malaria.ipynb: a badge leads to notebooks/03_malaria.ipynb" in wrong
    assert "README.md: a badge leads to notebooks/03_malaria.ipynb" in wrong


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (REPOSITORY, "someone/else", "several repositories"),
        ("?labpath=", "?urlpath=", "unknown form"),
        ("labpath=notebooks%2F03", "labpath=books%2F03", "leads to books/03"),
    ],
)
def test_a_broken_badge_is_seen(copy: Path, old: str, new: str, expected: str) -> None:
    badges.write(REPOSITORY, copy)
    path = copy / "notebooks" / "03_malaria.ipynb"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    assert expected in " ".join(badges.complaints(copy))


@pytest.mark.parametrize(
    "wrong", ["", "owner", "owner/", "/name", "a/b/c", "https://github.com/a/b", "a b/c", "a/b.git"]
)
def test_a_wrong_repository_is_one_line(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert badges.main([wrong]) == 2
    message = capsys.readouterr().err
    assert len(message.splitlines()) == 1
    assert "REPOSITORY=owner/name" in message


@pytest.mark.parametrize("missing", ["README.md", "notebooks/04_oct two.ipynb"])
def test_without_a_place_nothing_is_written(copy: Path, missing: str) -> None:
    path = copy / missing
    if path.suffix == ".md":
        path.write_text("# Series\n", encoding="utf-8")
    else:
        notebook = nbformat.read(path, as_version=4)
        notebook.cells.pop(0)
        nbformat.write(notebook, path)
    before = {one: one.read_bytes() for one in copy.rglob("*.*") if one.is_file()}
    with pytest.raises(ValueError, match="belong"):
        badges.write(REPOSITORY, copy)
    assert before == {one: one.read_bytes() for one in copy.rglob("*.*") if one.is_file()}


def test_the_repositorys_own_badges() -> None:
    assert badges.complaints(CHECKOUT) == []


def test_every_notebook_and_the_readme_have_a_place_for_badges() -> None:
    paths = sorted((CHECKOUT / "notebooks").glob("*.ipynb"))
    for path in paths:
        source = nbformat.read(path, as_version=4).cells[0].source
        assert source.startswith("# "), path.name
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    assert badges.BEGIN in readme
    assert badges.END in readme
