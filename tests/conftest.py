"""What several test modules use: the checkout, real images where there are any, one sample run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Before anything imports Keras or Matplotlib: no logs, no bars, no window.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ["TUTORIALS_UNATTENDED"] = "1"

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
def sample_run() -> Path:
    """The folder of a fresh run of every tutorial on its sample, made once for all tests.

    Executed notebooks and logs stay in `artifacts/sample` for whoever looks into a failure.
    """
    folder = CHECKOUT / "artifacts" / "sample"
    command = [sys.executable, "-m", "helpers", "run", "all", "--overwrite", "--output", folder]
    run = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        pytest.fail(f"the sample run failed, see {folder}:\n{run.stdout}{run.stderr}")
    return folder
