"""The runners, which make the pictures of jobs: one file or package per kind. Start with ``runner.py``."""
