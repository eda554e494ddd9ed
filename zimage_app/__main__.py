"""``python -m zimage_app``, and ``zimage`` where the package is installed."""

from __future__ import annotations

import gc
import sys

from zimage_app.cli.main import APP, main
from zimage_app.cli.terminal import write_utf8


def run() -> int:
    """Run the command line, or the page for ``zimage app``; returns the exit status."""
    write_utf8()
    if sys.argv[1:2] != [APP]:
        gc.set_threshold(50_000)  # as in app.py, but a long batch may leave garbage
        return main()
    gc.disable()  # as in app.py
    from zimage_app.serve import main as serve  # imports Gradio, which takes seconds

    serve(sys.argv[2:])
    return 0


if __name__ == "__main__":
    sys.exit(run())
