"""The REST API for programs. ``app.py`` assembles it; ``schema.py`` declares its bodies and responses."""
