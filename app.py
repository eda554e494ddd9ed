"""Start the page: ``python app.py``, then open the address it prints. ``--help`` lists the flags."""

import gc

if __name__ == "__main__":
    gc.disable()  # imports leave hardly any garbage, but looking for it takes a tenth of the start; main enables it
    from zimage_app.serve import main

    main()
