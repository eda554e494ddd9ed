"""Start the page: ``python app.py``, then open the address it prints. ``--help`` lists the flags."""

import sys

if __name__ == "__main__":
    from zimage_app.__main__ import run_page

    sys.exit(run_page(sys.argv[1:]))
