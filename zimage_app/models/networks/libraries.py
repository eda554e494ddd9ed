"""diffusers and transformers are imported when they are first needed: here is what keeps that to one thread at a time.

Two threads that import parts of transformers at once (one counts a prompt's tokens, one loads the model) may each meet
modules that the other has half made. Python lets them through rather than wait for ever, and then "cannot import" names
that are there.
"""

from __future__ import annotations

import threading

FIRST_IMPORT = threading.Lock()
"""Held over imports of these libraries, and over what imports more of them by itself."""
