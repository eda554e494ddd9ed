"""Grids: one request with varied settings (``axes.py``), shown on labelled sheets (``sheet.py``)."""
