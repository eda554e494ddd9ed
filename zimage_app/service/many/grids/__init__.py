"""Grids: one picture with settings varied (``axes.py``), laid out on a labelled sheet (``sheet.py``)."""
