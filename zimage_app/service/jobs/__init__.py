"""The job queue, from a request to its saved picture. Start with ``state.py``, then ``dispatcher.py``."""
