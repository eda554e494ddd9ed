"""F4 with some 3,000 calls, each with the key and without."""

from __future__ import annotations

from pathlib import Path

import pytest
from schemathesis import GenerationMode

from tests.rest.test_fuzz import ANY_BYTES, BARE, OPERATIONS, call, rest

pytestmark = pytest.mark.timeout(3600)


def test_f4_what_the_schema_allows_and_what_it_forbids(tmp_path: Path) -> None:
    calls = 0
    with rest(tmp_path) as app:
        for method, path in OPERATIONS:
            calls += call(app, method, path, GenerationMode.POSITIVE, more=10)
            if path not in (*BARE, *ANY_BYTES):
                calls += call(app, method, path, GenerationMode.NEGATIVE, more=10)
    assert calls >= 1300
