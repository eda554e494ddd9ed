"""HTTP shared by page and REST: the server, and the middleware that each request passes (``middleware.py``)."""
