"""The web API for programs. ``app.py`` puts it together; ``schema.py`` says what goes in and out."""
