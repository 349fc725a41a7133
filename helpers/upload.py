"""An upload button for one image of the reader's own; a sentence where nobody can press it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helpers.progress import unattended


def upload(show: Callable[[Path], None], label: str = "Choose an image") -> Any:
    """Return a button that hands each uploaded image to ``show``.

    In a batch run, where nobody could press it, a sentence is printed instead (and None
    returned), so that an executed notebook holds no dead button.

    Args:
        show: called with the path of a temporary copy of the file; what it prints or
            displays appears below the button. It need not catch errors: they are printed
            as one line.
        label: the button's text.
    """
    if unattended():
        print(f"«{label}»: run this cell in JupyterLab for a button.")
        return None
    import ipywidgets

    button = ipywidgets.FileUpload(accept="image/*", multiple=False, description=label)
    output = ipywidgets.Output()

    def on_upload(_: Any) -> None:
        output.clear_output()
        with output, tempfile.TemporaryDirectory() as folder:
            for file in button.value:
                path = Path(folder) / Path(file["name"]).name
                path.write_bytes(bytes(file["content"]))
                try:
                    show(path)
                except Exception as error:  # a widget would swallow it without a word
                    print(f"{path.name} cannot be used: {error}")

    button.observe(on_upload, names="value")
    return ipywidgets.VBox([button, output])
