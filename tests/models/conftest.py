"""The model folder that several tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from zimage_app.models.tiny import write_tiny_model


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole model folder; never to be written to."""
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")
