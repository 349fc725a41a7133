"""The report: from folders alone to table and page."""

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from PIL import Image, PngImagePlugin
from tiny_notebooks import record

from helpers import report

LOG = "2026-01-01 10:00:00 run of {name}.ipynb, kernel python3\n2026-01-01 10:00:05 {end}\n"
VOID = {"meta", "img", "br", "link", "hr", "input"}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A good run, one that cannot be read, one that failed, and one that is deeper down."""
    top = tmp_path / "all & sundry"
    good = _run(top / "sample" / "malaria", "03_malaria", json.dumps(record()))
    (good / "model_card.md").write_text("# Card")
    (good / "figures").mkdir()
    _png(good / "figures" / "01_confusion.png", 'Matrix of "true" <and> predicted classes')
    _png(good / "figures" / "02_roc_curve.png", None)
    (good / "figures" / "03_torn.png").write_bytes(b"\x89PNG torn")
    _run(top / "sample" / "oct", "04_oct", '{"schema": 1,')
    _run(top / "sample" / "brain_mri", "02_brain_mri", None, "FAILED: cell 3: <b>no</b> memory")
    _run(top / "sample" / "pneumonia", "05_pneumonia", None, "Executing Cell 4----")
    fold = record(fold=1, data=record()["data"] | {"synthetic": False}, peak_memory_mb=None)
    _run(top / "deep" / "er" / "malaria", "03_malaria", json.dumps(fold))
    _run(top / "sample" / ".previous-malaria", "03_malaria", json.dumps(record()))
    (top / "notes").mkdir()
    (top / "notes" / "log.txt").write_text("dear diary\n")
    return top


def _run(folder: Path, name: str, results: str | None, end: str = "finished in 5 s") -> Path:
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text(LOG.format(name=name, end=end))
    (folder / f"{name}.ipynb").write_text("{}")
    if results is not None:
        (folder / "results.json").write_text(results)
    return folder


def _png(path: Path, description: str | None) -> None:
    text = PngImagePlugin.PngInfo()
    if description:
        text.add_itxt("Description", description)
    Image.new("RGB", (40, 30), "white").save(path, pnginfo=text)


class Page(HTMLParser):
    """What a browser would make of a page; complains about tags that do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"attribute twice in {tag}"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> where another was open"

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of every element of a kind."""
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self) -> str:
        """All text of the page, spaces made single."""
        return " ".join(" ".join(self.words).split())


def _page(runs: Path) -> Page:
    return Page(report.build(runs).read_text(encoding="utf-8"))


def test_runs_are_found_at_any_depth(runs: Path) -> None:
    """Hidden folders and other people's logs are none of ours; the order is the notebooks'."""
    entries = report.collect(runs)
    found = [(entry.folder.relative_to(runs).as_posix(), entry.status) for entry in entries]
    assert found == [
        ("deep/er/malaria", "finished"),
        ("sample/brain_mri", "failed"),
        ("sample/malaria", "finished"),
        ("sample/oct", "unreadable"),
        ("sample/pneumonia", "failed"),
    ]
    assert entries[1].problem == "cell 3: <b>no</b> memory"
    assert "results.json is no valid JSON" in entries[3].problem
    assert entries[4].problem.endswith("the last line of its log: Executing Cell 4----")
    assert len(report.collect(runs / "sample" / "malaria")) == 1


def test_nothing_to_report_is_said(tmp_path: Path) -> None:
    """Neither a missing folder nor an empty one makes a page."""
    with pytest.raises(FileNotFoundError, match="no folder"):
        report.collect(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"no results\.json"):
        report.build(tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_page_is_well_formed(runs: Path) -> None:
    """Tags nest, ids are unique, each link inside the page leads somewhere."""
    page = _page(runs)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for attributes in page.all("a"):
        address = attributes["href"] or ""
        if address.startswith("#"):
            assert address[1:] in ids
    for _, attributes in page.tags:
        assert attributes.get("aria-labelledby", ids[0]) in ids
    assert [len(page.all(tag)) for tag in ("html", "title", "h1", "main")] == [1] * 4
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("section")) == 6  # the overview and five runs


def test_the_page_needs_nothing_else(runs: Path) -> None:
    """No script, no address outside; links lead to files that are there."""
    text = report.build(runs).read_text(encoding="utf-8")
    page = Page(text)
    assert not page.all("script")
    assert not page.all("link")
    assert not re.findall(r"https?://|@import|url\(", text)
    links = [attributes["href"] or "" for attributes in page.all("a")]
    files = [link for link in links if not link.startswith("#")]
    assert len(files) == 2 * 5 + 1
    for link in files:
        assert (runs / unquote(link)).is_file()


def test_the_page_suits_a_telephone(runs: Path) -> None:
    """A viewport, dark colours, pictures that shrink, tables that scroll in their own box."""
    text = report.build(runs).read_text(encoding="utf-8")
    page = Page(text)
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all(
        "meta"
    )
    assert "prefers-color-scheme: dark" in text
    assert re.search(r"img \{[^}]*max-width: 100%", text)
    assert re.search(r"\.scroll \{[^}]*overflow-x: auto", text)
    boxes = [attributes for attributes in page.all("div") if attributes.get("class") == "scroll"]
    assert len(boxes) == len(page.all("table"))
    assert all(box["tabindex"] == "0" and box["aria-label"] for box in boxes)


def test_pictures_are_inside_and_described(runs: Path) -> None:
    """The alternative text is the PNG's own; a torn file does not spoil the page."""
    pictures = _page(runs).all("img")
    assert [picture["alt"] for picture in pictures] == [
        'Matrix of "true" <and> predicted classes',
        "Figure: ROC curve",
    ]
    for picture in pictures:
        assert (picture["src"] or "").startswith("data:image/png;base64,")
        assert (picture["width"], picture["height"]) == ("40", "30")


def test_the_page_says_what_matters(runs: Path) -> None:
    """Figures with intervals, parameters, data, versions, failures, and what it is not for."""
    page = _page(runs)
    for words in (
        "Results: all & sundry",
        "2 of 5 runs finished, 3 did not",
        "not for clinical use",
        "0.912 (0.871\N{EN DASH}0.943)",
        "wrong split difference",
        "30 patients",
        "synthetic, 1,200 images, 36 patients",
        "real, 1,200 images, 36 patients",
        "4 files left out",
        "0123456789abcdef",
        "fold 1",
        "41 s",
        "1.3 GiB",
        "3.15.1",
        "cell 3: <b>no</b> memory",
    ):
        assert words in page.text, words
    assert page.text.count("They say nothing about patients") == 1


def test_a_title_cannot_smuggle_in_markup(tmp_path: Path) -> None:
    """Whatever a results.json holds is text."""
    _run(tmp_path / "x", "01_x", json.dumps(record(title="<script>alert(1)</script>")))
    page = _page(tmp_path)
    assert not page.all("script")
    assert "<script>alert(1)</script>" in page.text


def test_markdown_has_a_row_for_each_run(runs: Path) -> None:
    """Figures in one cell, the reason where there are none."""
    report.build(runs)
    lines = (runs / "results.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2 + 5
    assert {line.count(" | ") for line in lines if not line.startswith("|-")} == {5}
    assert "AUC 0.912 (0.871\N{EN DASH}0.943)<br>sensitivity 0.900" in lines[4]
    assert "[sample/malaria](sample/malaria)" in lines[4]
    assert "no</b> memory" in lines[3]


def test_csv_has_a_row_for_each_figure(runs: Path) -> None:
    """Tidy: one figure a row, one row for a run without."""
    report.build(runs)
    rows = list(csv.DictReader(io.StringIO((runs / "results.csv").read_text(encoding="utf-8"))))
    assert len(rows) == 3 + 1 + 3 + 1 + 1
    assert rows[0] == {
        "run": "deep/er/malaria",
        "status": "finished",
        "tutorial": "malaria",
        "profile": "sample",
        "seed": "0",
        "fold": "1",
        "backend": "tensorflow",
        "device": "CPU",
        "synthetic": "False",
        "figure": "auc",
        "value": "0.912",
        "low": "0.871",
        "high": "0.943",
        "n": "30",
        "unit": "patients",
        "seconds": "41.3",
        "peak_memory_mb": "",
    }
    assert rows[3]["status"] == "failed"
    assert rows[3]["figure"] == ""


def test_the_terminal_table_is_aligned(runs: Path) -> None:
    """A line for each main figure, problems below."""
    lines = report.as_text(report.collect(runs)).splitlines()
    column = lines[0].index("main figures")
    assert [line[column:] for line in lines[2:4]] == [
        "AUC 0.912 (0.871\N{EN DASH}0.943)",
        "sensitivity 0.900 (0.871\N{EN DASH}0.943)",
    ]
    assert "sample/brain_mri: cell 3: <b>no</b> memory" in lines


def test_a_report_can_be_rebuilt(runs: Path) -> None:
    """Its own files are no runs, and nothing temporary stays."""
    first = sorted(path.name for path in runs.iterdir())
    report.build(runs)
    report.build(runs)
    assert sorted(path.name for path in runs.iterdir()) == sorted(
        [*first, "report.html", "results.csv", "results.md"]
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (725, "12 min 05 s"),
        (12000, "3 h 20 min"),
    ],
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    """Seconds below a minute, then two units."""
    assert report.duration(seconds) == text


def _sweep(top: Path, count: int) -> None:
    """Write runs on so many folds, each with a picture."""
    for fold in range(count):
        figure = record()["figures"]["auc"] | {"value": 0.9 + fold / 100}
        data = record()["data"] | {"test_hash": f"{fold:016}", "split_hash": f"{fold:016}"}
        data["parts"] = data["parts"] | {"test": {"images": 300, "patients": 30}}
        one = record(fold=fold, data=data, figures={"auc": figure}, main=["auc"])
        folder = _run(top / "malaria" / "best" / f"fold{fold}", "03_malaria", json.dumps(one))
        (folder / "figures").mkdir()
        _png(folder / "figures" / "01_confusion.png", "Matrix of classes")


def test_runs_of_one_recipe_have_a_row_of_their_own(tmp_path: Path) -> None:
    """In the terminal, in Markdown, on the page and in a CSV file; with its interval explained."""
    _sweep(tmp_path, 3)
    page = _page(tmp_path)
    mean = r"AUC 0\.910 \(0\.8\d\d\N{EN DASH}0\.9\d\d\)"
    entries = report.collect(tmp_path)
    text = report.as_text(entries)
    assert re.search(rf"^malaria, sample, .*mean of 3 runs +{mean}$", text, re.MULTILINE)
    assert "Nadeau and Bengio" in text
    assert re.search(rf"\| malaria, sample, .* \| 3 \| 0 \| 0, 1, 2 \| {mean} \|",
                     (tmp_path / "results.md").read_text("utf-8"))  # fmt: skip
    assert re.search(rf"Means of several runs .* {mean}", page.text)
    (row,) = csv.DictReader((tmp_path / "pooled.csv").open(encoding="utf-8"))
    assert (row["figure"], row["runs"], row["value"], row["kind"]) == (
        "auc",
        "3",
        "0.91",
        "interval",
    )
    assert row["folds"] == "0 1 2"


def test_single_runs_have_no_means(tmp_path: Path) -> None:
    """And a file of means that is left from others goes."""
    _sweep(tmp_path, 1)
    (tmp_path / "pooled.csv").touch()
    assert "Means of several runs" not in _page(tmp_path).text
    assert not (tmp_path / "pooled.csv").exists()


def test_a_page_of_many_runs_links_to_their_pictures(tmp_path: Path) -> None:
    """Else it would grow to a hundred megabytes."""
    _sweep(tmp_path, report.MOST_WITH_PICTURES)
    assert len(_page(tmp_path).all("img")) == report.MOST_WITH_PICTURES
    _sweep(tmp_path / "more", 1)
    page = _page(tmp_path)
    assert page.all("img") == []
    assert "malaria/best/fold0/figures" in [link["href"] for link in page.all("a")]
