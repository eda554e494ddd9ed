"""``python -m zimage_app``, and ``zimage`` where the package is installed."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence

from zimage_app.cli.terminal import stopped, write_utf8
from zimage_app.models.heap import keep_freed_memory


def run() -> int:
    """Run the command line, or the page for ``zimage app``; returns the exit status."""
    return _until_interrupted(_command)


def run_page(flags: Sequence[str]) -> int:
    """Serve the page until it is stopped; returns the exit status."""
    gc.disable()  # imports leave hardly any garbage, but looking for it takes a tenth of the start; main enables it

    def serve() -> int:
        from zimage_app.serve import main  # imports Gradio, which takes seconds

        main(flags)
        return 0

    return _until_interrupted(serve)


def _command() -> int:
    from zimage_app.cli.main import APP, main

    if sys.argv[1:2] == [APP]:
        return run_page(sys.argv[2:])
    gc.set_threshold(50_000)  # as for the page, but a long batch may leave garbage
    return main()


def _until_interrupted(start: Callable[[], int]) -> int:
    """What ``start`` returns; without a traceback where Ctrl+C comes while it still imports."""
    write_utf8()
    keep_freed_memory()
    try:
        return start()
    except KeyboardInterrupt:
        return stopped()


if __name__ == "__main__":
    sys.exit(run())
