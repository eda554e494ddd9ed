"""The service layer behind page, REST API and command line, independent of them. The entry point is ``studio.py``."""
