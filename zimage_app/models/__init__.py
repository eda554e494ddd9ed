"""Z-Image on this machine: finding its files, reading them, and the networks for the engine (``components.py``)."""
