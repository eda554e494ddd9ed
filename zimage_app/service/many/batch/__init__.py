"""Many pictures from one file. Read ``reading.py`` first, then ``items.py``; ``manifest.py`` knows what is done."""
