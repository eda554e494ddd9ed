"""The big libraries' first import is one thread's at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

_WHO_HOLDS = """
import sys, threading
from pathlib import Path
from zimage_app.models.networks import libraries, networks, text_encoder
held = []
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name in ("transformers", "diffusers"):
            held.append((name, libraries.FIRST_IMPORT.locked()))
        return None
sys.meta_path.insert(0, Finder())
text_encoder.load_tokenizer(Path(sys.argv[1]))
for outline in (networks._text_outline, networks._vae_outline, networks._transformer_outline):
    try:
        outline({})
    except (ValueError, KeyError):
        pass
assert {name for name, _ in held} == {"transformers", "diffusers"}, held
assert all(locked for _, locked in held), held
assert not libraries.FIRST_IMPORT.locked()
"""


def test_counting_tokens_and_loading_a_model_import_under_the_lock(models_dir: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", _WHO_HOLDS, str(models_dir / "tiny" / "tokenizer")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
