"""Pictures made by a ComfyUI: ``server.py`` asks it, ``offers.py`` knows what it has, ``runner.py`` runs jobs there."""
