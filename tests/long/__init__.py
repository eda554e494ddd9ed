"""The goals of ``tests/reliability`` with their big numbers. Not in the normal run: ``python -m pytest tests/long``."""
