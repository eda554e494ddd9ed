"""``python -m zimage_app``."""

from __future__ import annotations

import sys

from zimage_app.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
