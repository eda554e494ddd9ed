"""Imports settings from other programs' pictures and workflows. Files are untrusted data; nothing in them is run."""

from zimage_app.service.imports.draft import Imported, NamedStartPicture
from zimage_app.service.imports.fitting import fitted
from zimage_app.service.imports.read import MAX_BYTES, read_file, read_settings

__all__ = ["MAX_BYTES", "Imported", "NamedStartPicture", "fitted", "read_file", "read_settings"]
