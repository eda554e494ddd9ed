"""Pictures made by a ComfyUI server. Start with ``runner.py``; ``server.py`` is the client for its API."""
