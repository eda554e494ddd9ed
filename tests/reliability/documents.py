"""F3: what people write by hand. Presets, negative prompts, cards, lists of models, notes, places of ComfyUI, wildcards
and prompts: sound ones that are spoilt letter by letter and value by value, and ones that are made from YAML's grammar.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tests.reliability.cases import Case, sound, written
from tests.reliability.mutations import DEEP, changed_bytes, changed_data, changed_text, encoded, odd, repeated
from tests.service.lora_files import write_lora
from zimage_app.domain.card import Z_IMAGE_TURBO
from zimage_app.domain.plan import make_plan
from zimage_app.domain.prompt_tags import take_tags
from zimage_app.domain.request import parse_request
from zimage_app.models.find.catalogue import ModelFolders, look_up
from zimage_app.models.find.comfyui import find_comfy_models
from zimage_app.service.library.loras import LoraLibrary
from zimage_app.service.library.negatives import NegativeLibrary
from zimage_app.service.library.presets import PresetLibrary
from zimage_app.service.library.wildcards import WildcardLibrary
from zimage_app.service.setup.config import ROOT
from zimage_app.service.setup.settings import load_settings, without_secrets

_SCALARS = (
    "a", "1", "-1", "1.5", "1e999", ".inf", "-.INF", ".nan", "~", "null", "true", "yes", "off", "''", '""', "'a b'",
    '"\\ud800"', '"\\x00"', '"\\U0001F600"', '"\\uD83D\\uDE00"', "2026-01-01", "2026-99-99", "2026-01-01T25:61:61Z",
    "0001-01-01 00:00:00 +99:99", "0x", "0x10", "0b2", "0o8", "1_0", "1:60:60", "190:20:30.15", "_", "=", "<<", "&a b",
    "*a", "!!int x", "!!int ''", "!!float x", "!!bool x", "!!null x", "!!str 1", "!!binary '&'", "!!timestamp x",
    "!!set {a}", "!!omap [a: 1]", "!!python/object:os.system x", "!!python/name:os.system", "!a b", "!<x> y", "! z",
    "|\n  a", ">-\n  a", "|9\n a", "@a", "`a", "%a", "猫", "\u2028", "\ufeff", "\u202e", "\t", "- a", "? a", ": a", "#",
    "9" * 300, "9" * 5000, "0x" + "f" * 5000, "1" + ":59" * 400, "x" * 3000,
)  # fmt: skip
_KEYS = (
    "title", "description", "stages", "examples", "model", "prompt", "negative", "seed", "loras", "triggers",
    "entries", "en", "zh", "when", "strength", "note", "name", "width", "height", "steps", "cfg", "denoise",
    "sampler", "scheduler", "shift", "easycache", "threshold", "enabled", "card", "size", "transformer",
    "text_encoder", "vae", "tokenizer", "hub", "folder", "file", "lora_strength", "template", "base_path",
    "diffusion_models", "<<", "? a", "", "[a]", "{a: 1}", "1", "null", "!!binary YQ==", "&x k", "*x", "'\n'",
)  # fmt: skip
_PROMPTS = (
    "a red boat <lora:ink:0.8>, 水墨", "<lora:ink:0.8:0.5> a <lora:style/snow:te=1:unet=0.2:stages=1,2>",
    "＜lora：ink：1＞ a", "{a|b {2::c|d}} __animals__, \\{x\\} \\__y\\__", "(boat:1.2) [a:b:0.5] embedding:x BREAK",
    '{"a": "b"}', "{3$$, $$a|b}",
)  # fmt: skip
_PIECES = (
    "<lora:", "<lora:ink", ":", "0.8", ">", "<", "＜lora：", "＞", "stages=", "te=", "1,2", "nan", "inf", "1e999",
    "-2", "{", "}", "|", "::", "2::", "0::", "$$", "__", "__animals__", "__circle__", "__gone__", "__deep/er__",
    "\\", "\\{", "\\__", ",", "，", " ", "\n", "\0", "a", "猫", "(", ")", ":1.2)", "｛", "｜", "｝", "../", "١",
    "9" * 400, "\u202e", "ink",
)  # fmt: skip
_SLOW = (
    "{", "{a|", "__", "__a", "__a_", "_", "\\", "<lora:", "<lora:ink>", "<", " ", ", ", "|", "}", "(a:", "[a:", ":",
    "$$", "{a|b}", "{}", "{a}", "0::", "\0", "__animals__", "embedding:", "BREAK", "(", "a:1", "{1::a|", "1", "，",
)  # fmt: skip
Read = Callable[[], None]


class Documents:
    """Makes the cases of F3. Files are written below ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "documents"
        self._sound: dict[str, list[str]] = {
            "presets": _texts("presets/*.yaml"),
            "negative": [text[:6000] for text in _texts("presets/negative/*.yaml")],
            "named": _texts("presets/models/*.yaml"),
            "card": _texts("models/*/card.yaml"),
            "settings": ["model: demo\nport: 7861\noutputs: ../x\noffline: true\ntime_limit: 300\nallow_host: [a.b]\n"],
            "notes": ["triggers: [水墨, ink wash]\nstrength: 0.8\nnote: strong; keep below 1\n"],
            "places": [
                "a111:\n  base_path: /x/\n  diffusion_models: |\n    models/a\n    models/b\n  vae: models/VAE\n"
            ],
            "wildcards": _texts("presets/wildcards/*.txt") or ["# animals\ncat\n2::dog\n{a|b} bird\n__colours__ fox\n"],
        }

    def __call__(self, chance: random.Random) -> Case:
        kinds: tuple[Callable[[random.Random], tuple[str, Read]], ...] = (
            self._settings, self._preset, self._negative, self._card, self._named, self._notes, self._places,
            self._wildcard, self._prompt, self._prompt, self._request,
        )  # fmt: skip
        shutil.rmtree(self._folder, ignore_errors=True)
        label, read = chance.choice(kinds)(chance)
        return Case(label, read)

    # What is read.

    def _preset(self, chance: random.Random) -> tuple[str, Read]:
        label, path = self._document("presets", "presets/my/a.yaml", chance)
        library = PresetLibrary(path.parents[1])

        def read() -> None:
            (preset,) = library.presets()
            sound(preset.title, *filter(None, [preset.problem]))
            (preset.description.en + preset.description.zh).encode()
            library.save("b", library.load("a").settings)
            assert library.load("b").settings == library.load("a").settings

        return label, read

    def _settings(self, chance: random.Random) -> tuple[str, Read]:
        label, path = self._document("settings", "studio.yaml", chance)

        def read() -> None:
            settings = load_settings({"config": str(path)}, {})
            json.dumps(without_secrets(settings), ensure_ascii=False).encode()
            assert settings.config.outputs

        return label, read

    def _negative(self, chance: random.Random) -> tuple[str, Read]:
        label, path = self._document("negative", "negative/a.yaml", chance)
        if chance.random() < 0.3:
            path = path.rename(path.with_name(chance.choice(("my.yaml", ".favourites.yaml"))))
        library = NegativeLibrary(path.parent)

        def read() -> None:
            for category in library.categories():
                sound(category.title, *filter(None, [category.problem]))
                for entry in category.entries:
                    (entry.text + entry.meaning).encode()
                    sound(*filter(None, [entry.when]))
            library.search("a")
            library.add("another 词条", "one")

        return label, read

    def _card(self, chance: random.Random) -> tuple[str, Read]:
        label, path = self._document("card", "models/a/card.yaml", chance)
        written(path.with_name("model_index.json"), b"{}")
        return label, lambda: _models(ModelFolders(path.parents[1]))

    def _named(self, chance: random.Random) -> tuple[str, Read]:
        label, path = self._document("named", "named/a.yaml", chance)
        return label, lambda: _models(ModelFolders(self._folder / "models", path.parent))

    def _notes(self, chance: random.Random) -> tuple[str, Read]:
        label, path = self._document("notes", "loras/a.yaml", chance)
        write_lora(path.with_suffix(".safetensors"))
        library = LoraLibrary(path.parent)

        def read() -> None:
            (entry,) = library.entries()
            sound(*entry.warnings)
            (entry.note + "".join(entry.triggers)).encode()
            library.write_notes("a", entry.notes)

        return label, read

    def _places(self, chance: random.Random) -> tuple[str, Read]:
        label, path = self._document("places", "ComfyUI/extra_model_paths.yaml", chance)
        (path.parent / "models" / "vae").mkdir(parents=True)
        return label, lambda: _no_models(path.parent)

    def _wildcard(self, chance: random.Random) -> tuple[str, Read]:
        text = self._text("wildcards", chance)
        lists = {"animals": text, "circle": "__circle__", "deep/er": "__animals__\n{__animals__|__deep/er__}", "grow":
                 "__animals__ __grow2__ __grow2__", "grow2": "{a|__animals__} __animals__"}  # fmt: skip
        for name, lines in lists.items():
            written(self._folder / "wildcards" / f"{name}.txt", _bytes(lines, chance))
        library = WildcardLibrary(self._folder / "wildcards")
        prompt = chance.choice(("__animals__", "a {__animals__|b}", "__deep/er__", "__grow__ __grow__", "__Ａnimals__"))

        def read() -> None:
            for each in library.lists():
                sound(*filter(None, [each.problem]))
                "".join((*each.lines, each.about)).encode()
            _plan({"prompt": prompt, "seed": 1}, library)

        return "wildcard", read

    def _prompt(self, chance: random.Random) -> tuple[str, Read]:
        match chance.randrange(4):
            case 0:
                prompt = changed_text(chance.choice(_PROMPTS), chance)
            case 1:
                prompt = "".join(chance.choice(_PIECES) for _ in range(chance.choice((3, 12, 60))))
            case 2:
                prompt = repeated(_SLOW, chance, chance.choice((300, 7990)))
            case _:
                prompt = str(odd(chance)) + chance.choice(_PROMPTS)
        for name in ("animals", "circle", "deep/er"):
            lines = "cat\n__animals2__" if name == "animals" else f"__{name}__ a"
            written(self._folder / "wildcards" / f"{name}.txt", lines.encode())
        written(self._folder / "wildcards" / "animals2.txt", b"a\nb\n{c|d}")
        library = WildcardLibrary(self._folder / "wildcards")
        data: dict[str, Any] = {"prompt": prompt, "seed": 1}
        if chance.random() < 0.3:
            data = {"prompt": "a", "seed": 1, "negative": prompt}
        elif chance.random() < 0.3:
            data |= {"prompt": "a", "triggers": [prompt[:200]], "loras": [{"name": prompt[:400] or "a"}]}
        return "prompt", lambda: _plan(data, library)

    def _request(self, chance: random.Random) -> tuple[str, Read]:
        """Plain data as a page or a program sends it."""
        stages = [{"width": 512, "height": 512, "steps": 4, "easycache": {"threshold": 0.2}}, {"denoise": 0.5}]
        loras = [{"name": "ink", "strength": 1}]
        data = {"prompt": "a", "negative": "b", "seed": 7, "triggers": ["ink"], "loras": loras, "stages": stages}
        spoilt = changed_data(data, chance)
        return "request", lambda: _plan(spoilt, WildcardLibrary(self._folder))

    # Documents.

    def _document(self, kind: str, name: str, chance: random.Random) -> tuple[str, Path]:
        return kind, written(self._folder / name, _bytes(self._text(kind, chance), chance))

    def _text(self, kind: str, chance: random.Random) -> str:
        text = chance.choice(self._sound[kind])
        match chance.randrange(6):
            case 0 | 1:
                return changed_text(text, chance)
            case 2 if kind != "wildcards":
                return _other_values(text, chance)
            case 3:
                return _grammar(chance, 0)
            case 4 if chance.random() < 0.4:
                return _bomb(chance)
            case _:
                key, scalar = chance.choice(_KEYS), chance.choice(_SCALARS)
                lines = text.split("\n")
                at = chance.randrange(len(lines))
                before, colon, _ = lines[at].partition(":")
                lines[at] = f"{before}{colon} {scalar}" if chance.random() < 0.7 else f"{key}: {scalar}"
                return "\n".join(lines)


def _models(model_folders: ModelFolders) -> None:
    source = look_up("a", model_folders)
    sound(source.card.title, source.card.description)
    "".join(source.card.examples).encode()
    assert len(tuple(source.missing)) <= 4


def _no_models(root: Path) -> None:
    assert find_comfy_models(root, root / "models") == []


def _plan(data: dict[str, Any], wildcards: WildcardLibrary) -> None:
    """All that happens to a request before it waits in the queue."""
    request = parse_request(data)
    plan = make_plan(request, Z_IMAGE_TURBO, lora_name=lambda name: name, wildcard=wildcards.lines)
    sound(*plan.warnings)
    plan.request.full_prompt.encode()
    take_tags(plan.request)
    again = parse_request(plan.request.model_dump(mode="json"))
    assert again == plan.request


def _texts(pattern: str) -> list[str]:
    return [path.read_text("utf-8") for path in sorted(ROOT.glob(pattern))]


def _bytes(text: str, chance: random.Random) -> bytes:
    data = encoded(text, chance) if chance.random() < 0.15 else text.encode("utf-8", "surrogatepass")
    return changed_bytes(data, chance) if chance.random() < 0.1 else data


def _other_values(text: str, chance: random.Random) -> str:
    """The same document with odd values in some places."""
    data = changed_data(yaml.safe_load(text), chance)
    try:
        return yaml.safe_dump(data, allow_unicode=chance.random() < 0.5, sort_keys=False)
    except (yaml.YAMLError, ValueError):
        return text[: chance.randrange(len(text))]


def _grammar(chance: random.Random, depth: int) -> str:
    """A document of YAML's own making; mostly with keys that mean something here."""
    indent = "  " * depth
    match chance.randrange(5 if depth < 4 else 1):
        case 0:
            return chance.choice(_SCALARS)
        case 1:
            return "[" + ", ".join(_grammar(chance, 9) for _ in range(chance.randrange(5))) + "]"
        case 2:
            return "".join(f"\n{indent}- {_grammar(chance, depth + 1)}" for _ in range(chance.randrange(1, 4)))
        case _:
            rows = (
                f"\n{indent}{chance.choice(_KEYS)}: {_grammar(chance, depth + 1)}"
                for _ in range(chance.randrange(1, 6))
            )
            return "".join(rows)


def _bomb(chance: random.Random) -> str:
    """Made to take long, or much."""
    merge = "a: &a {x: 1}\n" + "".join(
        f"b{n}: &b{n} {{<<: [*{'a' if not n else f'b{n - 1}'}, *a]}}\n" for n in range(30)
    )
    laughs = "a: &a [x, x]\n" + "".join(
        f"a{n}: &a{n} [*a{n - 1 if n else ''}, *a{n - 1 if n else ''}]\n" for n in range(30)
    )
    many = chance.choice((3000, 20_000))
    stairs = "".join(" " * depth + "a:\n" for depth in range(min(many, 1000)))
    entries = ", ".join(f"词{number}: {{}}" for number in range(many // 4))
    keys = "".join(f"k{number}: 1\n" for number in range(many))
    return chance.choice(
        (
            merge, laughs, stairs, keys, f"entries: {{{entries}}}", "[" * DEEP, "{a: " * DEEP, "- " * many, "? " * many,
            "[" * 49 + "]" * 49, ("[" * 40 + "]" * 40 + "\n") * 20, "!" * many, "&" * many, "*" * many, "'" * many,
            "|" * many, "#" * many, "---\n" * many, "%YAML 1.1\n" * many, "a: 1\n" * many, "- a\n" * many,
            "title: " + "x" * 10 * many, '"' + "\\u0041" * many + '"', "{" + "a, " * many + "}", "a: " + "1" * many,
            "title: {en: &x a, zh: *x}", "- - " * many, "{? a" * many, "!!int " * many, "a" * many + ": 1", ": " * many,
            ("\t" * 50 + "\n") * (many // 50), "-\n" * many, "x" * (3 * 2**20), "a\n" * 30_000, "{a|" * many,
            "{a|b}" * many, "__animals__ " * many, "1" * 300 + "::a",
        )
    )  # fmt: skip
