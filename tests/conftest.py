"""What several test modules use: the checkout, real images where there are any, one sample run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# Before anything imports Keras or Matplotlib: no logs, no bars, no window.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ["TUTORIALS_UNATTENDED"] = "1"
# A shell that starts the tests in the background (`&`) makes them, and what they start, deaf to
# Ctrl-C, which several tests press.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

CHECKOUT = Path(__file__).resolve().parent.parent
# Real images are no part of the repository; where somebody has them, they lie beside it.
REALDATA = Path(os.environ.get("TUTORIALS_REALDATA", CHECKOUT.parent / "shared" / "realdata"))


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The repository's own folder."""
    return CHECKOUT


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder with real images, one folder a dataset; skips the test where there is none."""
    if not REALDATA.is_dir():
        pytest.skip(f"no real images here: neither ../shared/realdata nor {REALDATA} exists")
    return REALDATA


@pytest.fixture(scope="session")
def sample_runs() -> dict[str, dict[str, Any]]:
    """The `results.json` of every tutorial on its sample, by name.

    They are those in `$TUTORIALS_SAMPLE_RUNS`, where `make nbval` says that it has just run the
    notebooks; else of a fresh run. Its notebooks and logs stay in `artifacts/sample`.
    """
    made = os.environ.get("TUTORIALS_SAMPLE_RUNS")
    folder = Path(made) if made else CHECKOUT / "artifacts" / "sample"
    if not made:
        command = [sys.executable, "-m", "helpers", "run", "all", "--overwrite"]
        run = subprocess.run([*command, "--output", folder], cwd=CHECKOUT, capture_output=True,
                             text=True, check=False)  # fmt: skip
        if run.returncode != 0:
            pytest.fail(f"the sample run failed, see {folder}:\n{run.stdout}{run.stderr}")
    records = [json.loads(path.read_text("utf-8")) for path in folder.glob("*/results.json")]
    return {record["tutorial"]: record for record in records}
