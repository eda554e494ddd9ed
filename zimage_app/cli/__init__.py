"""The command line: one file a command, each registered in ``main.py``."""
