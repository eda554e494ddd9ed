"""Start the page: ``python app.py``, then open the address it prints. ``--help`` lists the flags."""

from zimage_app.serve import main

if __name__ == "__main__":
    main()
