"""``python -m zimage_app``."""

from __future__ import annotations

import io
import sys

from zimage_app.cli.main import main

if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a pipe on Windows would otherwise choke on Chinese
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    sys.exit(main())
