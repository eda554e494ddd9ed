"""The command line: one file per command, each registered in ``main.py``."""
