"""The benchmarks: commands answer at once, and tables and the blocks they fill have a form."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_images import draw_cells

from benchmarks import gpu, scale
from benchmarks import input_pipeline as bench
from benchmarks.measuring import write_block
from helpers import backend, registry

CHECKOUT = Path(__file__).resolve().parent.parent
ROWS = [
    bench.Row("Later epochs", (4_000.0, 2_000.0, 3_000.0), (1_000.0, 1_000.0, 500.0)),
    bench.Row("Share", (0.01, 0.02, 0.03), (0.2, 0.3, 0.4), (0.1,), unit="share"),
]


@pytest.mark.parametrize(
    ("module", "option"),
    [("input_pipeline", "--data-dir"), ("gpu", "--backend"), ("scale", "--factors")],
)
def test_help_answers_without_tensorflow(module: str, option: str) -> None:
    program = (
        f"import sys; from benchmarks import {module} as bench\n"
        "try: bench.main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "assert not {'keras', 'tensorflow', 'pandas'} & set(sys.modules), 'slow imports'"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert option in run.stdout


@pytest.mark.parametrize("wrong", ["0", "-3", "many"])
def test_a_number_that_cannot_be_meant_is_refused(
    wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        bench.main([f"--repeats={wrong}"])
    assert "whole number of 1 or more" in capsys.readouterr().err


def test_medians_ranges_and_ratios_within_a_repetition() -> None:
    lines = bench.table(ROWS).splitlines()
    assert lines[2] == (
        "| Later epochs | 3,000 (2,000 – 4,000) | 1,000 (500 – 1,000) | — | 4.0× (2.0× – 6.0×) |"
    )
    assert lines[3] == ("| Share | 2.0 % (1.0 % – 3.0 %) | 30.0 % (20.0 % – 40.0 %) | 10.0 % | — |")
    assert len({line.count("|") for line in lines}) == 1


def test_the_first_epoch_is_left_out_and_the_wait_between_epochs_counted() -> None:
    # an epoch of 10 s, then two of 2 s, in which steps ran for 1.5 s and data were awaited 0.4 s
    epochs = bench.Epochs((0.0, 10.0, 12.0, 14.0), (9.0, 1.5, 1.5), (1.0, 0.4, 0.4))
    assert epochs.rate(100) == pytest.approx(50)
    assert epochs.waiting() == pytest.approx(0.2)
    assert epochs.idle() == pytest.approx(0.25)


def test_the_clock_starts_waiting_when_an_epoch_ends() -> None:
    clock = bench._Clock()
    clock.ends = [100.0]
    clock.note(asked=100.5, start=101.0, end=103.0)
    clock.note(asked=103.5, start=104.0, end=105.0)
    clock.ends.append(106.0)
    clock.fresh = True
    clock.note(asked=107.0, start=107.5, end=108.0)
    assert clock.waited == [1.5, 1.5]
    assert clock.busy == [3.0, 0.5]


def test_writing_the_block_twice_changes_nothing(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("# Top\n\n<!-- table -->\n<!-- /table -->\n\nEnd.\n", encoding="utf-8")
    text = bench.table(ROWS)
    assert write_block(readme, text, "table")
    once = readme.read_text(encoding="utf-8")
    assert not write_block(readme, text, "table")
    assert readme.read_text(encoding="utf-8") == once
    assert once == f"# Top\n\n<!-- table -->\n{text}\n<!-- /table -->\n\nEnd.\n"
    assert write_block(readme, "other", "table")
    assert readme.read_text(encoding="utf-8").count("other") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


def test_a_readme_without_a_place_is_refused(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("# Top\n", encoding="utf-8")
    with pytest.raises(ValueError, match="say where the table belongs"):
        write_block(readme, None, "table")
    assert readme.read_text(encoding="utf-8") == "# Top\n"


def test_the_repositorys_readme_has_a_place() -> None:
    assert not write_block(CHECKOUT / "README.md", None, bench.MARK)


def test_every_block_has_its_place() -> None:
    assert not write_block(gpu.README, None, gpu.MARK)
    for mark in (scale.MEASURED, scale.CARRIED_ON):
        assert not write_block(CHECKOUT / "docs" / "scale.md", None, mark)


# --- on a GPU --------------------------------------------------------------------------------


def test_the_wait_is_what_an_epoch_takes_longer_than_the_model_alone() -> None:
    row = gpu.Row("a", 64, 16, training=[90.0, 100.0], alone=[100.0, 80.0], inference=[1.0])
    assert row.waiting == pytest.approx([0.1, -0.25])
    assert gpu.Row("a", 64, 16, inference=[1.0]).waiting == []


def test_a_network_that_found_no_room_is_told_below_the_table() -> None:
    rows = [
        {"title": "a", "image_size": 64, "batch_size": 16, "training": [400.0, 300.0],
         "alone": [400.0, 400.0], "inference": [1_234.0, 1_236.0]},
        {"title": "b", "image_size": 224, "batch_size": 128, "problem": "The GPU's memory is full"},
    ]  # fmt: skip
    lines = gpu.section({"title": "Keras on a GPU", "rows": rows}).splitlines()
    assert lines[0] == "**Keras on a GPU**"
    assert lines[4] == (
        "| a | 64 | 16 | 350 (300 – 400) | 400 (400 – 400) | 12.5 % (0.0 % – 25.0 %) "
        "| 1,240 (1,230 – 1,240) |"
    )
    assert lines[5] == "| b | 224 | 128 | — | — | — | — |"
    assert lines[-1] == "b: The GPU's memory is full"


def test_every_network_of_the_series_is_measured_at_its_profiles_size() -> None:
    found = {network.title: network for network in gpu.networks()}
    assert len(found) == 9
    assert (found["04: VGG16, its backbone frozen"].batch_size) == 128
    assert found["01: DenseNet201"].image_size == 224
    assert [title for title, network in found.items() if network.reduced] == [
        "EfficientNet-Lite0, frozen", "EfficientNet-Lite0, fine-tuned", "small CNN",
    ]  # fmt: skip


def test_a_backend_that_is_missing_is_told_with_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu.kernels, "is_installed", lambda name: False)
    assert gpu.main(["--backend", "torch"]) == 2
    assert "torch is not installed here. Install it:" in capsys.readouterr().err


# --- with more images ------------------------------------------------------------------------


def run_of(images: int) -> scale.Figures:
    """Return the figures of a run in which everything grows with the images but own memory."""
    steps = ("list", "cache", "again", "split", "train", "features", "head", "ask", "evaluate")
    own = {f"own_{step}": 500e6 for step in ("start", *steps)}
    sizes = ("file_bytes", "cache_bytes", "index_bytes", "feature_bytes")
    return {
        **dict.fromkeys((*steps, "epoch"), images / 1_000),
        **own,
        **dict.fromkeys(sizes, images * 500.0),
        "resident": 900e6,
        "images": images,
        "patients": images / 25,
    }


def test_the_measured_table_has_a_column_a_size() -> None:
    text = scale.measured({10: run_of(10_000), 1: run_of(1_000)}, "idle")
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert table[0] == "| | 1× | 10× |"
    assert "| images | 1,000 | 10,000 |" in table
    assert "| list the files | 1.00 s | 10 s |" in table
    assert "| **memory of the index** | 0.5 MB | 5.0 MB |" in table
    assert "| … at most until the network is trained | 500 MB | 500 MB |" in table
    assert {line.count("|") for line in table} == {4}
    assert "(idle)" in text


def test_what_is_carried_on_follows_from_the_largest_run() -> None:
    rates = {"decode": 100.0, "features_192": 50.0, "features_224": 40.0, "tuning_192": 10.0,
             "tuning_224": 8.0}  # fmt: skip
    text = scale.carried_on({1: run_of(500), 100: run_of(100_000)}, rates)
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line[:1] == "|"}
    assert "| 1.8 minutes | 17 minutes |" in rows["list the files"]
    assert "| 54 MB | 500 MB |" in rows["memory of the index"]
    assert "| 12 GB | 151 GB |" in rows["the cache on disk"]
    assert "| 18 hours | 4.3 days |" in rows["fine-tune EfficientNet-Lite0 (60 % of them): here"]
    assert "| 4.6 minutes | 21 minutes |" in rows["fine-tune (60 % of them): one GPU, *assumed*"]
    assert "We have measured no GPU" in text


def test_each_copy_of_an_image_is_another_picture_of_another_patient(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 200, (9, 9, 3), np.uint8)
    pixels[0] = 0
    file = tmp_path / "C1P1thinF_IMG_20150619_114756a_cell_179.png"
    Image.fromarray(pixels).save(file)
    pictures = {np.asarray(scale._changed(file, copy)).tobytes() for copy in range(100)}
    assert len(pictures) == 100
    names = {scale._renamed(file.name, copy) for copy in range(100)}
    assert len({registry.get("malaria").patient_of(name) for name in names}) == 100


@pytest.mark.slow
def test_a_tiny_gpu_run_gives_a_table(tmp_path: Path) -> None:
    options = ["--backend", backend.name(), "--network", "small CNN", "--images", "64"]
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", *options, "--repeats", "1", "--remark", "tiny"],
        cwd=CHECKOUT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert f"on {backend.name()} " in lines[0]
    (row,) = (line for line in lines if line.startswith("| small CNN |"))
    assert row.count("|") == 8
    assert "—" not in row
    assert "(tiny)" in lines[-1]


@pytest.mark.slow
def test_a_run_of_one_size_measures_every_step(tmp_path: Path) -> None:
    cells = draw_cells(tmp_path / "cells", tuple(f"C{n}P{n}thinF" for n in range(1, 21)))
    program = f"from benchmarks import scale; print(scale._run(scale.Path({str(cells)!r})))"
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True, check=False,
        env=os.environ | {"TUTORIALS_DATA": str(tmp_path / "home")},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    found = ast.literal_eval(run.stdout)
    assert (found["images"], found["patients"]) == (120, 20)
    assert all(found[key] > 0 for key in run_of(1))
    assert found["resident"] > found["own_start"] > 50e6


@pytest.mark.slow
def test_a_tiny_run_gives_the_table() -> None:
    program = (
        "from benchmarks import input_pipeline as bench; bench.LATER_EPOCHS = 1; "
        "raise SystemExit(bench.main(['--images', '40', '--image-size', '32', '--repeats', '1']))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=CHECKOUT,
        env=os.environ | {"KERAS_BACKEND": "tensorflow"},  # what it compares is TensorFlow's
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 8
    assert len({line.count("|") for line in table}) == 1
    for line in table[2:5]:
        assert line.rstrip(" |").endswith("×")
    assert "cores" in lines[-1]
