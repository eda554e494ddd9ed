"""The life of a job, from the request to the saved picture. Read ``state.py`` first, then ``dispatcher.py``."""
