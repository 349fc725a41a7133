"""Sets the figures of a run beside published ones of the same images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from helpers import metrics
from helpers.registry import Dataset

_HOW = "how it was measured"


def beside(
    figures: Mapping[str, metrics.Estimate],
    dataset: Dataset,
    index: pd.DataFrame,
    names: Sequence[str],
) -> pd.DataFrame:
    """Return the run's figures above those that others have published.

    The table has a row a publication, with the protocol without which its figures mean nothing.
    A run on one of MedMNIST's small sets stands beside figures of these, any other run beside
    figures of the archive; a run on images of one's own stands alone.

    Args:
        figures: of the model that was sent to the test, by name.
        dataset: from ``helpers.own_images.dataset_of``.
        index: whose images they are of: what its source is decides which figures fit.
        names: the columns: which figures to set side by side. A publication that has none of
            them is left out.
    """
    source = index.attrs["source"]
    images = "medmnist" if source == "medmnist" else "archive"
    here = "this run, on drawings: no comparison" if source == "sample" else "this run"
    ours = metrics.table({here: dict(figures)}, names).assign(**{_HOW: "as above"})
    fitting = [
        one for one in dataset.published if images in one.images and set(names) & set(one.figures)
    ]
    rows = [
        {name: f"{value:.3f}" for name, value in one.figures.items() if name in names}
        | {_HOW: one.protocol if one.patient_wise else f"NOT BY PATIENT: {one.protocol}"}
        for one in fitting
    ]
    theirs = pd.DataFrame(rows, index=[one.source for one in fitting], columns=ours.columns)
    return pd.concat([ours, theirs]).fillna("")
