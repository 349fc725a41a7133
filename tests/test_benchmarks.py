"""The benchmark: its command answers at once, and its table and the README's block have a form."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import input_pipeline as bench

CHECKOUT = Path(__file__).resolve().parent.parent
ROWS = [
    bench.Row("Later epochs", (4_000.0, 2_000.0, 3_000.0), (1_000.0, 1_000.0, 500.0)),
    bench.Row("Share", (0.01, 0.02, 0.03), (0.2, 0.3, 0.4), (0.1,), unit="share"),
]


def test_help_answers_without_tensorflow() -> None:
    program = (
        "import sys; from benchmarks import input_pipeline as bench\n"
        "try: bench.main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "assert not {'keras', 'tensorflow', 'pandas'} & set(sys.modules), 'slow imports'"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "--data-dir" in run.stdout


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
    readme.write_text(f"# Top\n\n{bench.BEGIN}\n{bench.END}\n\nEnd.\n", encoding="utf-8")
    text = bench.table(ROWS)
    assert bench.write_block(readme, text)
    once = readme.read_text(encoding="utf-8")
    assert not bench.write_block(readme, text)
    assert readme.read_text(encoding="utf-8") == once
    assert once == f"# Top\n\n{bench.BEGIN}\n{text}\n{bench.END}\n\nEnd.\n"
    assert bench.write_block(readme, "other")
    assert readme.read_text(encoding="utf-8").count("other") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


def test_a_readme_without_a_place_is_refused(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("# Top\n", encoding="utf-8")
    with pytest.raises(ValueError, match="say where the table belongs"):
        bench.write_block(readme, None)
    assert readme.read_text(encoding="utf-8") == "# Top\n"


def test_the_repositorys_readme_has_a_place() -> None:
    assert not bench.write_block(CHECKOUT / "README.md", None)


@pytest.mark.slow
def test_a_tiny_run_gives_the_table() -> None:
    program = (
        "from benchmarks import input_pipeline as bench; bench.LATER_EPOCHS = 1; "
        "raise SystemExit(bench.main(['--images', '40', '--image-size', '32', '--repeats', '1']))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 8
    assert len({line.count("|") for line in table}) == 1
    for line in table[2:5]:
        assert line.rstrip(" |").endswith("×")
    assert "cores" in lines[-1]
