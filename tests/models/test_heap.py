"""Freed memory is kept for the next allocation, counted by the pages that the system has to provide."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have no glibc")

SCRIPT = """
import json, resource, sys, threading
from zimage_app.models.heap import keep_freed_memory, return_freed_memory
keep_freed_memory()

def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    b"x" * 2**26
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def work():
    counts = [pages(), pages()]
    return_freed_memory()
    print(json.dumps([*counts, pages()]))

thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


def pages_of(**environment: str) -> list[int]:
    """New pages for a first allocation, for one after it was freed, and for one after the heap was emptied."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=plain | environment, capture_output=True, text=True, check=True
    )
    return [int(count) for count in json.loads(done.stdout)]


def test_memory_is_used_again_until_it_is_returned() -> None:
    first, again, returned = pages_of()
    assert again < first / 10
    assert returned > first / 2


def test_a_users_choice_stays() -> None:
    first, again, _ = pages_of(MALLOC_MMAP_THRESHOLD_="131072")
    assert again > first / 2
