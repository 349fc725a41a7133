"""Claims on folders: one holder at a time, and a dead one's claim is taken over."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import claim, paths

ROOT = Path(claim.__file__).resolve().parent.parent
HOLD = """\
import sys, time
from pathlib import Path
from helpers import claim
with claim.alone(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(300)
"""


def test_a_claim_is_one_holders(tmp_path: Path) -> None:
    """A second one is refused by name; afterwards nothing is left."""
    path = tmp_path / ".claim"
    with claim.alone(path) as own:
        assert claim.read(path) == own
        assert not own.over
        with (
            pytest.raises(claim.ClaimedError, match=f"is being written by process {own.process};"),
            claim.alone(path),
        ):
            pass
        assert claim.read(path) == own
    assert not path.exists()
    with claim.alone(path) as later:
        assert later != own


def test_a_killed_holder_is_followed(tmp_path: Path) -> None:
    """It could take nothing back; the system lifts its lock, and another process may go on."""
    path = tmp_path / ".claim"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, path], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(claim.ClaimedError, match=f"process {holder.pid};"), claim.alone(path):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    left = claim.read(path)
    assert left is not None
    assert left.over
    with claim.alone(path) as own:
        assert own.process != holder.pid


def test_a_number_that_lives_again_does_not_block(tmp_path: Path) -> None:
    """Process numbers are dealt anew; the lock proves that the holder is dead."""
    path = tmp_path / ".claim"
    own = claim.Claim.new()
    claim.write(path, claim.Claim(own.process, own.machine, "of an earlier life"))
    with claim.alone(path):
        pass
    assert not path.exists()


def test_without_locks_a_living_process_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on some network drives."""
    monkeypatch.setattr(paths, "lock", lambda file: None)
    path = tmp_path / ".claim"
    with claim.alone(path) as own, pytest.raises(claim.ClaimedError), claim.alone(path):
        pass
    claim.write(path, claim.Claim(2**22 + 1, own.machine, "dead"))  # above Linux' largest number
    with claim.alone(path):
        pass


def test_a_process_that_started_later_is_not_the_one_that_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number was given out again, to whoever has it now."""
    monkeypatch.setattr(paths, "lock", lambda file: None)
    path = tmp_path / ".claim"
    own = claim.Claim.new()
    claim.write(path, claim.Claim(own.process, own.machine, "mark", own.started - 3600))
    left = claim.read(path)
    assert left is not None and left.over
    with claim.alone(path):
        pass
    assert not claim.Claim(own.process, own.machine, "mark", own.started + 0.5).over


def test_another_machines_claim_is_not_judged(tmp_path: Path) -> None:
    """Whether that process lives cannot be seen from here: a person has to say so."""
    path = tmp_path / ".claim"
    claim.write(path, claim.Claim(1, "node7", "mark"))
    with (
        pytest.raises(claim.ClaimedError, match=rf"by process 1 on node7, .* remove {path}\."),
        claim.alone(path),
    ):
        pass
    assert path.exists()


@pytest.mark.parametrize("text", ["", "12", "a b c", "\x00"])
def test_what_is_no_claim_holds_nobody_up(tmp_path: Path, text: str) -> None:
    """A file that a full disk or a crash left half-written."""
    path = tmp_path / ".claim"
    path.write_text(text)
    assert claim.read(path) is None
    with claim.alone(path):
        pass
