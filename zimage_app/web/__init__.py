"""What page and web API share of HTTP: the server, and all that a request passes first (``door.py``)."""
