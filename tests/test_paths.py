"""Data home and atomic writes: all of a file or folder appears, or nothing."""

import stat
import threading
import time
from pathlib import Path

import pytest

from helpers import paths
from helpers.paths import turn


class BrokenError(Exception):
    """Stands for whatever goes wrong inside a block."""


def test_data_home_is_what_the_variable_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUTORIALS_DATA", str(tmp_path / "data here"))
    assert paths.data_home() == tmp_path / "data here"
    assert not paths.data_home().exists()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUTORIALS_DATA", "relative")
    assert paths.data_home() == tmp_path / "relative"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TUTORIALS_DATA", "~/mine")
    assert paths.data_home() == tmp_path / "mine"


def test_data_home_of_a_checkout_and_of_an_installed_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUTORIALS_DATA", "  ")  # as good as unset
    monkeypatch.setattr(paths, "_checkout", lambda: tmp_path)
    (tmp_path / "data").mkdir()
    assert paths.data_home() == tmp_path / "data"
    monkeypatch.setattr(paths, "_checkout", lambda: None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    home = paths.data_home()
    assert home.is_absolute()
    assert home.name == paths.APPLICATION or paths.APPLICATION in home.parts


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "result.json"
    with paths.atomic_file(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.suffix == ".json"
        temporary.write_text("new", encoding="ascii")
        assert not target.exists()
    assert target.read_text(encoding="ascii") == "new"
    assert [path.name for path in target.parent.iterdir()] == ["result.json"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~paths._umask()


def test_a_file_stays_as_it_was_after_an_exception(tmp_path: Path) -> None:
    target = tmp_path / "result.json"
    target.write_text("old", encoding="ascii")
    with pytest.raises(BrokenError), paths.atomic_file(target) as temporary:
        temporary.write_text("half", encoding="ascii")
        raise BrokenError
    assert target.read_text(encoding="ascii") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
    with paths.atomic_file(target) as temporary:
        temporary.write_text("new", encoding="ascii")
    assert target.read_text(encoding="ascii") == "new"


def test_a_folder_appears_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "sample"
    with paths.atomic_folder(target) as temporary:
        (temporary / "a.txt").write_text("a", encoding="ascii")
        assert not target.exists()
    assert [path.name for path in target.iterdir()] == ["a.txt"]
    assert [path.name for path in target.parent.iterdir()] == ["sample"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o777 & ~paths._umask()


def test_an_empty_folder_counts_as_none(tmp_path: Path) -> None:
    target = tmp_path / "sample"
    target.mkdir()
    with paths.atomic_folder(target) as temporary:
        (temporary / "a.txt").touch()
    assert (target / "a.txt").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_no_half_made_folder_after_an_exception(tmp_path: Path, overwrite: bool) -> None:
    target = tmp_path / "sample"
    if overwrite:
        target.mkdir()
        (target / "old.txt").touch()
    with pytest.raises(BrokenError), paths.atomic_folder(target, overwrite=overwrite) as temporary:
        (temporary / "half.txt").touch()
        raise BrokenError
    assert target.exists() == overwrite
    left = sorted(path.name for path in tmp_path.rglob("*"))
    assert left == (["old.txt", "sample"] if overwrite else [])


def test_a_filled_folder_or_a_file_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "sample"
    target.mkdir()
    (target / "mine.txt").touch()
    with pytest.raises(FileExistsError, match="not empty"), paths.atomic_folder(target):
        pytest.fail("the block must not run")
    plain = tmp_path / "plain"
    plain.touch()
    with pytest.raises(FileExistsError, match="is a file"), paths.atomic_folder(plain):
        pytest.fail("the block must not run")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["mine.txt", "plain", "sample"]


def test_overwrite_replaces_the_whole_folder(tmp_path: Path) -> None:
    target = tmp_path / "sample"
    target.mkdir()
    (target / "old.txt").touch()
    with paths.atomic_folder(target, overwrite=True) as temporary:
        (temporary / "new.txt").touch()
        assert (target / "old.txt").exists()
    assert [path.name for path in target.iterdir()] == ["new.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["sample"]


def test_two_at_once_keep_the_first(tmp_path: Path) -> None:
    target = tmp_path / "sample"
    with paths.atomic_folder(target, keep_existing=True) as slow:
        (slow / "slow.txt").touch()
        with paths.atomic_folder(target, keep_existing=True) as quick:
            (quick / "quick.txt").touch()
    assert [path.name for path in target.iterdir()] == ["quick.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["sample"]


# --- one after another --------------------------------------------------------------------


def test_one_process_after_another_makes_a_file(tmp_path: Path) -> None:
    target, order, inside = tmp_path / "cache" / "pixels.npy", [], threading.Event()

    def second() -> None:
        inside.wait()
        with turn(target):
            order.append("second in" if target.exists() else "second in too early")

    other = threading.Thread(target=second)
    other.start()
    with turn(target):
        inside.set()
        time.sleep(0.5)
        target.touch()
        order.append("first out")
    other.join()
    assert order == ["first out", "second in"]
    assert [path.name for path in target.parent.iterdir()] == ["pixels.npy"]


def test_a_dead_process_s_lock_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / ".pixels.npy.lock").write_text("left by a process that was killed")
    with turn(tmp_path / "pixels.npy"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_where_no_lock_can_be_written_nobody_waits(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with turn(tmp_path / "file" / "pixels.npy"):  # the error comes from what is to be written
        pass


def test_who_waits_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(paths, "_LOOK", 0.01)
    answers = iter([False, False, True])
    monkeypatch.setattr(paths, "lock", lambda file: next(answers))
    with turn(tmp_path / "pixels.npy"):
        pass
    assert capsys.readouterr().err.count("this one waits for it") == 1
