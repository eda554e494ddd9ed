"""Pictures made on other machines of a Ray cluster: ``worker.py`` is what runs there, ``runner.py`` what asks it."""
