"""The notebooks' rules: kept by every committed notebook, and each seen to fail on a broken one."""

from __future__ import annotations

import copy
import hashlib
import re
import subprocess
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from stored import early_readers

from helpers import registry
from tools import notebook_rules as rules
from tools import notebooks as tool

CHECKOUT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((CHECKOUT / "notebooks").glob("*.ipynb"))
# Pictures that may be committed: what the README shows of the synthetic samples.
PICTURES = ("docs/*.png",)
PICTURE_OR_DATA = {
    *(".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".dcm", ".nii"),
    *(".npy", ".npz", ".h5", ".hdf5", ".keras", ".pkl", ".zip", ".gz", ".tar", ".rar", ".7z"),
}
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="
)
CASES = [
    pytest.param(path, rule, id=f"{path.stem}-{rule.__name__}")
    for path in NOTEBOOKS
    for rule in rules.rules_for(path)
]


# --- the committed notebooks -----------------------------------------------------------------


@pytest.mark.parametrize("tutorial", registry.names())
def test_the_test_part_stays_closed_until_it_is_evaluated(tutorial: str) -> None:
    # "parts" counts whose images lie where, the brain's "batches" names rows: neither reads a pixel
    counting = {"parts", "batches"} if tutorial == "brain_mri" else {"parts"}
    assert early_readers(tutorial, {"test", "test_scores", "test_masks"}, counting) == []


def test_there_are_notebooks() -> None:
    names = {path.name for path in NOTEBOOKS}
    assert "template.ipynb" in names
    assert any(re.match(r"\d\d_", name) for name in names)


@pytest.mark.parametrize(("path", "rule"), CASES)
def test_committed_notebook(path: Path, rule: rules.Rule) -> None:
    assert rule(nbformat.read(path, as_version=nbformat.NO_CONVERT)) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_notebook_is_in_the_settled_form(path: Path) -> None:
    tool.check(path)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_pictures_beside_the_text_exist(path: Path) -> None:
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    for cell in notebook.cells:
        for target in re.findall(r"!\[[^\]]*\]\(\s*([^)\s]+)", cell.source):
            if target.startswith("attachment:"):
                assert target.removeprefix("attachment:") in cell.get("attachments", {})
            elif "://" not in target and cell.cell_type == "markdown":
                assert (path.parent / target).is_file(), f"{cell.id}: {target}"


def test_no_picture_or_data_is_committed() -> None:
    files = [name for name in tracked() if Path(name).suffix.lower() in PICTURE_OR_DATA]
    wrong = [name for name in files if not any(fnmatch(name, allowed) for allowed in PICTURES)]
    assert wrong == []


@pytest.mark.realdata
def test_no_real_file_is_committed(realdata: Path) -> None:
    # Only files of a size that occurs on both sides need to be read.
    ours: dict[int, list[Path]] = {}
    for name in tracked():
        path = CHECKOUT / name
        if path.is_file() and path.stat().st_size > 0:
            ours.setdefault(path.stat().st_size, []).append(path)
    theirs = [path for path in realdata.rglob("*") if path.is_file()]
    candidates = [path for path in theirs if path.stat().st_size in ours]
    real = {digest(path): path for path in candidates}
    sizes = {path.stat().st_size for path in candidates}
    found = {path: real.get(digest(path)) for size in sizes for path in ours[size]}
    assert not {path.name: source for path, source in found.items() if source}


# --- each rule is seen to fail ---------------------------------------------------------------


Change = Callable[[NotebookNode], None]


def test_a_good_notebook_breaks_no_rule() -> None:
    notebook = good()
    assert [complaint for rule in rules.TUTORIAL for complaint in rule(notebook)] == []


def edit(name: str, /, **fields: object) -> Change:
    """Return a change that sets fields of the cell with this id."""

    def change(notebook: NotebookNode) -> None:
        cell_of(notebook, name).update(fields)

    return change


def output(name: str, kind: str, /, **fields: object) -> Change:
    """Return a change that adds an output to the cell with this id."""

    def change(notebook: NotebookNode) -> None:
        cell_of(notebook, name).outputs.append(new_output(kind, **fields))

    return change


def source(name: str, old: str, new: str) -> Change:
    """Return a change of the text of the cell with this id."""

    def change(notebook: NotebookNode) -> None:
        cell = cell_of(notebook, name)
        assert old in cell.source
        cell.source = cell.source.replace(old, new)

    return change


def whole(change: Change) -> Change:
    return change


PNG = {"image/png": PIXEL, "text/plain": "a figure"}
P = "parameters"
BROKEN = [
    (rules.format_is_current, "4.4", whole(lambda n: n.update(nbformat_minor=4))),
    (rules.format_is_current, "not a valid", edit("look", outputs=None)),
    (rules.kernel_is_python3, "conda", whole(lambda n: n.metadata.kernelspec.update(name="conda"))),
    (rules.kernel_is_python3, "None", whole(lambda n: n.metadata.pop("kernelspec"))),
    (rules.ids_are_readable, "no id", edit("look", id="")),
    (rules.ids_are_readable, "not readable", edit("look", id="1a2b3c4d")),
    (
        rules.ids_are_readable,
        "not readable",
        edit("look", id="1a2b3c4d-0000-4000-8000-123456789abc"),
    ),
    (rules.ids_are_readable, "not readable", edit("look", id="Look At")),
    (rules.ids_are_readable, "twice", edit("look", id="title")),
    (rules.parameters_are_declared, "0 code cells", edit(P, metadata=nbformat.from_dict({}))),
    (
        rules.parameters_are_declared,
        "2 code cells",
        edit("look", metadata=nbformat.from_dict({"tags": [P]})),
    ),
    (rules.parameters_are_declared, "not an annotated", source(P, "seed: int =", "seed =")),
    (
        rules.parameters_are_declared,
        "derived",
        source(P, "seed: int = 0", "seed: int = 1 + len(x)"),
    ),
    (rules.parameters_are_declared, "no int", source(P, "seed: int = 0", 'seed: int = "0"')),
    (rules.parameters_are_declared, "no int", source(P, "seed: int = 0", "seed: int = True")),
    (rules.parameters_are_declared, "'='", source(P, '"auto"', '"a=b"')),
    (rules.parameters_are_declared, "no comment", source(P, "  # rules all chance", "")),
    (rules.parameters_are_shared, "missing", source(P, "max_images", "most_images")),
    (rules.parameters_are_shared, "elsewhere", source(P, "seed: int = 0", "seed: int = 1")),
    (rules.parameters_are_shared, "elsewhere", source(P, "seed: int", "seed: float")),
    (rules.anatomy_is_fixed, "heading 3", source("text-3", "3. Look", "3. See")),
    (rules.anatomy_is_fixed, "heading 3", source("text-3", "## 3", "### 3")),
    (rules.anatomy_is_fixed, "nothing", source("text-13", "## 13. ", "")),
    (rules.anatomy_is_fixed, "after the last", source("text-13", "Words", "## More\n\nWords")),
    (rules.anatomy_is_fixed, "heading 4", source("text-3", "Words", "```\n```\n## Words")),
    (rules.anatomy_is_fixed, "heading 9", source("text-8", "Words", "## Where?\n\nWords")),
    (rules.anatomy_is_fixed, "heading 10", source("text-9", "Words", "## 9b. Where?\n\nWords")),
    (rules.title_says_all, "the first cell", edit("title", source="No title")),
    (rules.title_says_all, "more than one", source("text-3", "## 3", "# 3")),
    (rules.title_says_all, "clinical", source("title", "Not for clinical use", "Enjoy")),
    (rules.title_says_all, "licence", source("title", "licence", "terms")),
    (rules.title_says_all, "how long", source("title", "40 seconds", "long")),
    (rules.is_executed, "None", edit("look", execution_count=None)),
    (rules.is_executed, "99", edit("look", execution_count=99)),
    (rules.is_executed, "no code cell", whole(lambda n: n.update(cells=n.cells[:1]))),
    (
        rules.outputs_are_clean,
        "failed",
        output("look", "error", ename="ValueError", evalue="x", traceback=[]),
    ),
    (rules.outputs_are_clean, "stderr", output("look", "stream", name="stderr", text="warning\n")),
    (
        rules.paths_are_relative,
        "/home/ada/x.png",
        output("look", "stream", text="saved /home/ada/x.png\n"),
    ),
    (
        rules.paths_are_relative,
        "/tmp/a",
        output("look", "display_data", data={"text/html": "<b>/tmp/a</b>"}),
    ),
    (rules.paths_are_relative, "C:", source("look", "images", "'C:\\\\data'")),
    (rules.paths_are_relative, "/Users/ada", source("text-3", "Words", "`/Users/ada/cells`")),
    (rules.no_trailing_semicolons, "';'", source("look", "len(images))", "len(images));")),
    (
        rules.cells_are_short,
        "more than 25",
        edit("look", source="\n".join(["print(1)"] * 26)),
    ),
    (
        rules.cells_are_short,
        "median",
        whole(
            lambda n: [c.update(source="a = 1\n" * 7) for c in n.cells if "source" in c] and None
        ),
    ),
    (rules.prose_carries_code, "words a line", edit("look", source="a = 1\n" * 60)),
    (rules.prose_carries_code, "words a line", source("text-3", "Words", "word " * 900)),
    (rules.images_have_alt_text, "no alt", output("look", "display_data", data=PNG)),
    (
        rules.images_have_alt_text,
        "too short",
        output("look", "display_data", data=PNG, metadata={"image/png": {"alt": "a figure"}}),
    ),
    (
        rules.images_have_alt_text,
        "file name",
        output(
            "look",
            "display_data",
            data=PNG,
            metadata={"image/png": {"alt": "figures/confusion_matrix.png"}},
        ),
    ),
    (rules.images_have_alt_text, "no alt", source("text-3", "Words", "![](docs/cells.png)")),
    (rules.images_have_alt_text, "no alt", source("text-3", "Words", '<img src="cells.png">')),
    (
        rules.images_have_alt_text,
        "is attached",
        source("text-3", "Words", "![Two rows of red cells](attachment:cells.png)"),
    ),
    (
        rules.file_is_small,
        "bytes",
        output("look", "display_data", data={"image/png": "A" * 1_000_000}),
    ),
    (rules.installs_only_in_setup, "pip install", source("look", "print", "%pip install x\nprint")),
    (rules.imports_only_in_setup, "belong", source("look", "print", "import numpy\nprint")),
    (rules.imports_only_in_setup, "not tagged", edit("imports", metadata=nbformat.from_dict({}))),
    (
        rules.devices_stay_in_setup,
        "'GPU'",
        output("look", "display_data", data={"text/markdown": "computed by jax on a GPU"}),
    ),
    (rules.devices_stay_in_setup, "'12.3 s'", output("look", "stream", text="took 12.3 s\n")),
    (rules.devices_stay_in_setup, "ms/step", output("look", "stream", text="1/1 - 45ms/step\n")),
    (
        rules.devices_stay_in_setup,
        "mixed_bfloat16",
        output("keep-results", "execute_result", data={"text/plain": "mixed_bfloat16"}),
    ),
    (rules.devices_stay_in_setup, "Tesla", output("look", "stream", text="on a Tesla T4\n")),
    (rules.devices_stay_in_setup, "'cuda'", output("look", "stream", text="device: cuda:0\n")),
    (rules.devices_stay_in_setup, "'float32'", output("look", "stream", text="in float32\n")),
    (rules.devices_stay_in_setup, "images/s", output("look", "stream", text="83 images/s\n")),
    (rules.engines_stay_in_backend, "torch", source("imports", "import keras", "import torch.nn")),
    (rules.ends_with_results, "results.save", source("keep-results", "results.save", "print")),
]


@pytest.mark.parametrize(
    ("rule", "expected", "change"),
    BROKEN,
    ids=[f"{rule.__name__}-{number}" for number, (rule, *_) in enumerate(BROKEN)],
)
def test_a_broken_notebook_is_seen(rule: rules.Rule, expected: str, change: Change) -> None:
    notebook = good()
    change(notebook)
    complaints = rule(notebook)
    assert complaints
    assert expected in " ".join(complaints)


def test_every_rule_is_seen_to_fail() -> None:
    assert {rule for rule, *_ in BROKEN} == set(rules.TUTORIAL)


def test_a_tutorial_may_have_sections_of_its_own_after_evaluate() -> None:
    notebook = good()
    cell_of(notebook, "text-9").source += "\n\n## Where is it?\n\n### The loss\n\nWords"
    assert rules.anatomy_is_fixed(notebook) == []


@pytest.mark.parametrize(
    "harmless",
    [
        "see https://example.org/home/user/page",
        "and/or, 3/4, </home> and ../tmp/x",
        "runs/sample/malaria",
    ],
)
def test_what_is_no_absolute_path(harmless: str) -> None:
    notebook = good()
    cell_of(notebook, "text-3").source += f"\n{harmless}"
    assert rules.paths_are_relative(notebook) == []


def test_the_set_up_may_name_device_and_prose_seconds() -> None:
    notebook = good()
    output("imports", "stream", text="Keras 3.15.1 on tensorflow 2.21.0, computing on the GPU\n")(
        notebook
    )
    source("text-3", "Words", "It takes 40 seconds on a CPU. Words")(notebook)
    output("look", "stream", text="1,293 pixels of 8 slices, 3 scans s1 to s4\n")(notebook)
    assert rules.devices_stay_in_setup(notebook) == []


def test_code_in_markdown_is_neither_prose_nor_heading() -> None:
    notebook = good()
    before = rules.prose_carries_code(notebook)
    cell_of(notebook, "text-3").source += "\n```python\n# 1 Heading\n" + "x = 1\n" * 900 + "```\n"
    assert rules.prose_carries_code(notebook) == before
    assert rules.anatomy_is_fixed(notebook) == []
    assert rules.title_says_all(notebook) == []


def test_rules_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notebook = good()
    nbformat.write(notebook, tmp_path / "03_good.ipynb")
    assert rules.main([str(tmp_path / "03_good.ipynb")]) == 0
    cell_of(notebook, "look").execution_count = 9
    nbformat.write(notebook, tmp_path / "03_bad.ipynb")
    assert rules.main([str(tmp_path / "03_bad.ipynb")]) == 1
    assert "cell look" in capsys.readouterr().out


# --- running and storing ---------------------------------------------------------------------


def test_settled_form_holds_nothing_that_changes() -> None:
    notebook = good()
    cell = cell_of(notebook, "look")
    cell.metadata.update(
        {
            "execution": {"iopub.execute_input": "2026-01-01"},
            "papermill": {"duration": 1.0},
            "tags": ["keep-me"],
            "jupyter": {"source_hidden": True},
        }
    )
    notebook.metadata.update({"papermill": {}, "widgets": {}})
    notebook.metadata.language_info.version = "3.11.7"
    cell.outputs = [
        new_output("stream", name="stdout", text="one\n"),
        new_output("stream", name="stderr", text="\r 50%|█████     | 1/2 [00:01<00:01, 1.0it/s]"),
        new_output("stream", name="stdout", text="two\n"),
        new_output(
            "display_data",
            data={**PNG, "application/vnd.jupyter.widget-view+json": {"model_id": "1f"}},
            metadata={"image/png": {"alt": "twenty cells", "width": 640}, "needs_background": "l"},
        ),
    ]
    before = copy.deepcopy(notebook)
    settled = tool.normalise(notebook)
    assert notebook == before, "the notebook given was changed"
    cell = cell_of(settled, "look")
    assert settled.metadata == tool.METADATA
    assert cell.metadata == {"tags": ["keep-me"], "jupyter": {"source_hidden": True}}
    assert [one.output_type for one in cell.outputs] == ["stream", "display_data"]
    assert cell.outputs[0].text == "one\ntwo\n"
    assert set(cell.outputs[1].data) == {"image/png", "text/plain"}
    assert cell.outputs[1].metadata == {"image/png": {"alt": "twenty cells"}}
    assert tool.text_of(tool.normalise(settled)) == tool.text_of(settled)
    assert tool.text_of(settled).endswith("}\n")


def test_a_warning_is_not_taken_for_a_bar() -> None:
    notebook = good()
    output("look", "stream", name="stderr", text="UserWarning: no cells\n")(notebook)
    assert any("stderr" in one for one in tool.storable(tool.normalise(notebook)))


def test_check_tells_and_no_run_mends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "03_good.ipynb"
    path.write_text(nbformat.writes(good(), indent=4), encoding="utf-8")
    assert tool.main(["--check", str(path)]) == 1
    assert "settled form" in capsys.readouterr().err
    assert tool.main(["--no-run", str(path)]) == 0
    assert tool.main(["--check", str(path)]) == 0


def test_what_may_not_be_stored_leaves_the_file_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notebook = good()
    output("look", "stream", text="saved /home/ada/x.png\n")(notebook)
    path = tmp_path / "03_bad.ipynb"
    nbformat.write(notebook, path)
    before = path.read_bytes()
    assert tool.main(["--no-run", str(path)]) == 1
    assert path.read_bytes() == before
    assert "/home/ada/x.png" in capsys.readouterr().err


def test_not_a_notebook_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "03_bad.ipynb"
    path.write_text("no JSON", encoding="utf-8")
    assert tool.main(["--check", str(path), str(tmp_path / "absent.ipynb")]) == 1
    assert capsys.readouterr().err.count("cannot be read") == 2


@pytest.mark.slow
def test_run_in_place(tmp_path: Path) -> None:
    path = tmp_path / "tiny.ipynb"
    nbformat.write(
        tiny(
            "import os, sys\nfrom pathlib import Path\n"
            "print(Path.cwd().name == os.environ['HERE'])",
            "sys.stderr.write('\\r100%|██| 2/2 [00:00, 9.0it/s]'); 6 * 7",
            "print(os.environ['TUTORIALS_UNATTENDED'], os.environ['PYTEST_CURRENT_TEST'])\n"
            "print(Path(os.environ['TUTORIALS_RUNS']).is_dir())",
        ),
        path,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HERE", tmp_path.name)
        tool.refresh(path)
    notebook = nbformat.read(path, as_version=4)
    first, second, third = notebook.cells
    assert first.outputs[0].text == "True\n"
    assert second.outputs[0].data["text/plain"] == "42"
    assert len(second.outputs) == 1
    assert third.outputs[0].text == "1 ref\nTrue\n"
    assert [cell.execution_count for cell in notebook.cells] == [1, 2, 3]
    tool.check(path)


@pytest.mark.slow
def test_a_failing_cell_stores_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tiny.ipynb"
    nbformat.write(tiny("1 / 0"), path)
    before = path.read_bytes()
    assert tool.main([str(path)]) == 1
    assert path.read_bytes() == before
    assert "ZeroDivisionError" in capsys.readouterr().err


@pytest.mark.slow
def test_nbval_sees_a_difference_and_keeps_the_fresh_outputs(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="ascii")
    path = tmp_path / "tiny.ipynb"
    notebook = tiny("print('new')", "print('took 1.5 s')")
    for number, (cell, text) in enumerate(
        zip(notebook.cells, ("old\n", "took 9 s\n"), strict=True), start=1
    ):
        cell.execution_count = number
        cell.outputs = [new_output("stream", text=text)]
    nbformat.write(notebook, path)
    command = [*f"{tool.sys.executable} -m pytest -p tools.keep --nbval".split()]
    command += ["--nbval-current-env", f"--nbval-sanitize-with={CHECKOUT / 'nbval.ini'}"]
    run = subprocess.run(
        [*command, "--rootdir", tmp_path, "-c", tmp_path / "pytest.ini", path],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
    )
    assert "1 failed, 1 passed" in run.stdout, run.stdout
    kept = nbformat.read(tmp_path / "artifacts" / "notebooks" / "tiny.ipynb", as_version=4)
    assert kept.cells[0].outputs[0].text == "new\n"
    assert "fresh outputs kept" in run.stdout


# --- helpers ---------------------------------------------------------------------------------


def tracked() -> list[str]:
    """Return the files that git would commit, or skip where this is no checkout."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        run = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no git checkout: nothing tells what is committed")
    return [name for name in run.stdout.split("\0") if name]


def digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def cell_of(notebook: NotebookNode, name: str) -> NotebookNode:
    return next(cell for cell in notebook.cells if cell.id == name)


def tiny(*sources: str) -> NotebookNode:
    cells = [new_code_cell(text, id=f"cell-{n}") for n, text in enumerate(sources, start=1)]
    return new_notebook(cells=cells, metadata=copy.deepcopy(tool.METADATA))


def good() -> NotebookNode:
    """Return a small tutorial that breaks no rule."""
    declared = {name: kind for name, (kind, _) in rules.PARAMETERS.items()}
    lines = [
        f"{name}: {kind} = {rules.PARAMETERS[name][1]!r}  # what it means".replace("'", '"')
        for name, kind in declared.items()
    ]
    code = {
        1: ("imports", "import keras\n\nfrom helpers import results", ["nbval-ignore-output"]),
        2: ("parameters", "\n".join(lines), ["parameters"]),
        3: ("look", "images = [1, 2]\nprint(len(images))", []),
        13: ("keep-results", "results.save('runs', figures={})", ["nbval-ignore-output"]),
    }
    title = (
        "# Cells\n\nNot for clinical use. The data's licence is CC0. Runs 40 seconds.\n"
        "\n![Six cells drawn beside one another](../docs/cells.png)"
    )
    cells = [new_markdown_cell(title, id="title")]
    for number, heading in enumerate(rules.HEADINGS, start=1):
        text = f"## {heading}\n\nWords " + "that explain what comes next " * 2
        cells.append(new_markdown_cell(text, id=f"text-{number}"))
        if number in code:
            name, text, tags = code[number]
            text = text.replace("0  # what it means", "0  # rules all chance")
            cells.append(new_code_cell(text, id=name, metadata={"tags": tags}))
    for count, cell in enumerate((c for c in cells if c.cell_type == "code"), start=1):
        cell.execution_count = count
    return new_notebook(cells=cells, metadata=copy.deepcopy(tool.METADATA))
