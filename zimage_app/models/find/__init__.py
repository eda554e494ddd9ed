"""Which models there are and where their files lie. Begin with ``catalogue.py``; no weights are read here."""
