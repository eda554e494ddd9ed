"""Batches: many pictures from one file. Start at ``reading.py``, then ``items.py``; ``manifest.py`` logs progress."""
