"""F2: LoRA files, and what other tools put beside them. Sound ones of every kind are made, and then spoilt.

Spoilt are the tensors (numbers, shapes, halves), the header (offsets, types, names), the bytes, the metadata and the
files beside; each case is then listed, looked at, put on a small model and taken off again.
"""

from __future__ import annotations

import base64
import io
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save
from torch import Tensor, nn

from tests.models.lora_support import changed, patchable, state
from tests.models.stock import normal
from tests.reliability.cases import Case, sound, written
from tests.reliability.mutations import (
    DEEP,
    as_json,
    changed_bytes,
    changed_data,
    changed_text,
    encoded,
    odd,
)
from zimage_app.models.lora import LoraManager, ResolvedLora
from zimage_app.service.library.loras import LoraLibrary

_SIDE = 16
_MILLION = 2**20
_PREFIXES = ("diffusion_model.", "transformer.", "", "lora_unet_", "lycoris_", "base_model.model.", "lora_te_", "猫.")
_MODULES = ("layers.0.attention.to_q", "layers.1.attention.qkv", "layers.0.feed_forward.w1", "layers.1.attention.out")
_DTYPES = ("F16", "BF16", "F32", "F64", "F8_E4M3", "F8_E5M2", "F8_E8M0", "I8", "U8", "I64", "BOOL", "C64", "F4", "F99")
_METADATA: dict[str, str] = {
    "format": "pt", "ss_base_model_version": "zimage", "modelspec.title": "Ink 水墨", "ss_network_dim": "16",
    "modelspec.architecture": "z-image", "modelspec.trigger_phrase": "ink, 水墨", "ss_network_alpha": "8",
    "ss_tag_frequency": json.dumps({"10_ink": {"ink wash": 30, "boat": 28, "hill": 2}}),
}  # fmt: skip
_COMPANIONS: dict[str, Any] = {
    ".civitai.info": {"trainedWords": ["ink", "水墨"], "baseModel": "ZImageTurbo", "model": {"name": "Ink"}},
    ".metadata.json": {"usage_tips": '{"strength": 0.8}', "notes": "strong", "civitai": {"trainedWords": ["ink"]}},
    ".cm-info.json": {"ModelName": "Ink", "TrainedWords": ["ink"], "BaseModel": "Z-Image"},
    ".swarm.json": {"modelspec.trigger_phrase": "ink", "modelspec.title": "Ink"},
    ".json": {"activation text": "ink, wash", "preferred weight": 0.7, "notes": "a"},
}


class _Small(nn.Module):
    """Two layers with names of Z-Image's."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleDict(
                {
                    "attention": nn.ModuleDict(
                        {name: self._linear(seed) for seed, name in enumerate(("to_q", "to_k", "to_v"), 4 * layer)}
                        | {"to_out": nn.ModuleList([self._linear(4 * layer + 3)])}
                    ),
                    "feed_forward": nn.ModuleDict({"w1": self._linear(9 + layer)}),
                }
            )
            for layer in range(2)
        )

    def _linear(self, seed: int) -> nn.Linear:
        linear = nn.Linear(_SIDE, _SIDE, bias=False, dtype=torch.bfloat16)
        with torch.no_grad():
            linear.weight.copy_(normal(_SIDE, _SIDE, seed=seed))
        return linear


class LoraCases:
    """Makes the cases of F2. Files are written below ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "loras"
        self._module = _Small()
        self._manager = LoraManager(patchable(self._module))
        self._pristine = state(self._module)

    def __call__(self, chance: random.Random) -> Case:
        kinds: tuple[tuple[Callable[[random.Random], bytes], int], ...] = (
            (self._odd_tensors, 8), (self._odd_header, 8), (self._spoilt_bytes, 4), (self._odd_metadata, 4),
            (self._bombs, 1), (self._ranks, 1), (self._something_else, 1),
        )  # fmt: skip
        (make,) = chance.choices([kind for kind, _ in kinds], [weight for _, weight in kinds])
        shutil.rmtree(self._folder, ignore_errors=True)
        path = written(self._folder / "ink.safetensors", make(chance))
        if chance.random() < 0.4:
            self._beside(path, chance)
        strength = chance.choice((1.0, -2.0, 0.5, 2.0))

        def read() -> None:
            self._read(path, strength)

        return Case(make.__name__.strip("_"), read)

    def _read(self, path: Path, strength: float) -> None:
        library = LoraLibrary(self._folder)
        (entry,) = library.entries()
        for words in (entry.title, entry.base, entry.note, entry.rank, *entry.triggers, *entry.preset_triggers):
            words.encode()
        sound(*entry.warnings, *filter(None, [entry.problem]))
        library.thumbnail(entry.name)
        try:
            sound(*self._manager.apply([ResolvedLora(path, strength)]))
            library.sha256(library.find("ink"))
        finally:
            self._manager.apply([])
            assert changed(self._pristine, self._module) == set()

    # Sound ones.

    def _tensors(self, chance: random.Random) -> dict[str, Tensor]:
        """One or several adapters of any kind."""
        tensors: dict[str, Tensor] = {}
        for module in chance.sample(_MODULES, chance.choice((1, 2, 4))):
            prefix = chance.choice(_PREFIXES[:5])
            name = prefix + (module.replace(".", "_") if prefix.endswith("_") else module)
            rows = 3 * _SIDE if module.endswith("qkv") else _SIDE
            tensors |= {f"{name}.{role}": value for role, value in self._adapter(rows, chance).items()}
        return tensors

    def _adapter(self, rows: int, chance: random.Random) -> dict[str, Tensor]:
        rank = chance.choice((1, 2, 4, 16))
        pair = {"lora_A.weight": normal(rank, _SIDE), "lora_B.weight": normal(rows, rank)}
        kinds: tuple[dict[str, Tensor], ...] = (
            pair,
            {"lora_down.weight": normal(rank, _SIDE), "lora_up.weight": normal(rows, rank), "alpha": torch.tensor(2.0)},
            pair | {"dora_scale": torch.ones(rows, 1)},
            pair | {"lora_magnitude_vector": torch.ones(rows)},
            {f"hada_w{n}_{side}": normal(*shape) for n in (1, 2)
             for side, shape in (("a", (rows, rank)), ("b", (rank, _SIDE)))},
            {"lokr_w1": normal(rows // 4, 4), "lokr_w2": normal(4, 4)},
            {"lokr_w1": normal(4, 4), "lokr_w2_a": normal(rows // 4, rank), "lokr_w2_b": normal(rank, 4)},
            {"diff": normal(rows, _SIDE)},
        )  # fmt: skip
        return {role: 0.1 * value for role, value in chance.choice(kinds).items()}

    # Spoilt ones.

    def _odd_tensors(self, chance: random.Random) -> bytes:
        tensors = self._tensors(chance)
        for _ in range(chance.choice((1, 1, 2, 5))):
            self._spoil(tensors, chance)
        return save({key: value.contiguous() for key, value in tensors.items()}, dict(_METADATA))

    def _spoil(self, tensors: dict[str, Tensor], chance: random.Random) -> None:
        if not tensors:
            return
        key = chance.choice(list(tensors))
        value = tensors[key]
        match chance.randrange(9):
            case 0:
                del tensors[key]
            case 1:
                number = chance.choice((float("nan"), float("inf"), float("-inf"), 1e30, -1e30, 3e38, 1e-45, 2e4))
                spoilt = torch.ones(value.numel())
                spoilt[chance.randrange(max(1, spoilt.numel())) : spoilt.numel()] = number
                tensors[key] = spoilt.reshape(value.shape)
            case 2:
                kinds = (torch.int8, torch.uint8, torch.int64, torch.bool, torch.float64, torch.float16, torch.bfloat16,
                         torch.float8_e4m3fn, torch.float8_e5m2, torch.complex64)  # fmt: skip
                tensors[key] = value.to(chance.choice(kinds))
            case 3:
                tensors[key] = value.transpose(0, -1).clone() if value.ndim else value
            case 4:
                shapes = ((), (0,), (0, _SIDE), (1,), (1, 1), (_SIDE, _SIDE, 1, 1), (2, 3, 4), (1,) * 9, (3, _SIDE))
                tensors[key] = torch.ones(chance.choice(shapes))
            case 5:
                tensors[chance.choice(_PREFIXES) + key] = value.clone()
            case 6:
                tensors[changed_text(key, chance).encode("utf-8", "replace").decode()[:3000]] = value.clone()
            case 7:
                other = chance.choice(list(tensors))
                tensors[key], tensors[other] = tensors[other].clone(), value.clone()
            case _:
                tensors[f"{key.rpartition('.')[0]}.alpha"] = torch.tensor(
                    chance.choice((0.0, float("nan"), float("inf"), -1e30, 1e30, 1e-30))
                )

    def _ranks(self, chance: random.Random) -> bytes:
        """Far more ranks than a weight of that size can have."""
        rank = chance.choice((1000, 1025, 20_000))
        name = f"diffusion_model.{_MODULES[0]}"
        pair = {f"{name}.lora_A.weight": torch.zeros(rank, _SIDE), f"{name}.lora_B.weight": torch.zeros(_SIDE, rank)}
        return save({key: value.half() for key, value in pair.items()})

    def _odd_header(self, chance: random.Random) -> bytes:
        raw = save({key: value.contiguous() for key, value in self._tensors(chance).items()}, dict(_METADATA))
        length = int.from_bytes(raw[:8], "little")
        header, data = json.loads(raw[8 : 8 + length]), raw[8 + length :]
        for _ in range(chance.choice((1, 1, 3))):
            self._lie(header, len(data), chance)
        text = as_json(header, chance)
        if chance.random() < 0.15:  # a key that stands twice
            text = text[:-1] + "," + text[1:]
        written_header = encoded(text, chance) if chance.random() < 0.2 else text.encode("utf-8", "surrogatepass")
        if chance.random() < 0.1:
            written_header = written_header.replace(b"lora", b"\xff\xfe\xc3", 1)
        lengths = (0, 1, len(written_header) - 1, len(written_header) + 9, 2**31, 2**63, 2**64 - 1)
        said = chance.choice(lengths) if chance.random() < 0.1 else len(written_header)
        return max(0, said).to_bytes(8, "little") + written_header + data

    def _lie(self, header: dict[str, Any], size: int, chance: random.Random) -> None:
        key = chance.choice([key for key in header if key != "__metadata__"] or [""])
        entry = header.get(key)
        if not isinstance(entry, dict):
            return
        match chance.randrange(7):
            case 0:
                begin, end = (chance.choice((-1, 0, 2, size, size + 2, 2**31, 2**63, 2**64)) for _ in range(2))
                entry["data_offsets"] = [begin, end]
            case 1:
                sides = (0, -1, 1, 3, _SIDE, 2**31, 2**62, 2**64, 1.5, None, "4")
                entry["shape"] = [chance.choice(sides) for _ in range(chance.randrange(5))]
            case 2:
                entry["dtype"] = chance.choice(_DTYPES)
            case 3:
                header[str(odd(chance))[:2000]] = dict(entry)
            case 4:
                header["__metadata__"] = odd(chance)
            case 5:
                header["__metadata__"] = {**_METADATA, chance.choice(list(_METADATA)): odd(chance)}
            case _:
                changed_data(header, chance)

    def _spoilt_bytes(self, chance: random.Random) -> bytes:
        tensors = {key: value.contiguous() for key, value in self._tensors(chance).items()}
        return changed_bytes(save(tensors, dict(_METADATA)), chance)

    def _odd_metadata(self, chance: random.Random) -> bytes:
        """Sound tensors; what is said of them is odd."""
        metadata = dict(_METADATA)
        for key in chance.sample(list(metadata), 2):
            value = metadata[key]
            spoilt = as_json(changed_data(json.loads(value), chance), chance) if value.startswith("{") else None
            metadata[key] = (spoilt or changed_text(value, chance)).encode("utf-8", "replace").decode()
        if chance.random() < 0.4:
            metadata["modelspec.thumbnail"] = self._thumbnail(chance)
        return save({key: value.contiguous() for key, value in self._tensors(chance).items()}, metadata)

    def _thumbnail(self, chance: random.Random) -> str:
        file = io.BytesIO()
        form = chance.choice(("PNG", "JPEG", "WEBP"))
        Image.new("RGB", (chance.choice((8, 3000)), 8)).save(file, form)
        text = base64.b64encode(changed_bytes(file.getvalue(), chance)).decode()
        kind = chance.choice((form.lower(), "jpeg", "svg+xml", ""))
        return f"data:image/{kind};base64,{changed_text(text, chance) if chance.random() < 0.3 else text}"

    def _bombs(self, chance: random.Random) -> bytes:
        size = chance.choice((1, 1, 4)) * _MILLION
        tags = '{"a":{' + ",".join(f'"{number}":1' for number in range(size // 10)) + "}}"
        wide = '{"a":{"b":[' + "[]," * (size // 3) + "1]}}"
        deep = '{"a":' * DEEP
        texts = (tags, wide, deep, "x" * size, "," * size, " " * size, '"' * size, "猫" * (size // 3))
        metadata = {chance.choice((*_METADATA, "modelspec.thumbnail", "x")): chance.choice(texts)}
        if chance.random() < 0.3:
            tensors = {
                f"layers.{number}.lora_A.weight": torch.zeros(1) for number in range(size // chance.choice((100, 40)))
            }
            return save(tensors, metadata)
        if chance.random() < 0.3:
            raw = b'{"a":' * DEEP
            return len(raw).to_bytes(8, "little") + raw
        return save({key: value.contiguous() for key, value in self._tensors(chance).items()}, metadata)

    def _something_else(self, chance: random.Random) -> bytes:
        starts = (b"", b"PK\x03\x04", b"\x80\x04", b"<!DOCTYPE html>", b"version https://git-lfs", b"GGUF", b"\0" * 8)
        return chance.choice(starts) + chance.randbytes(chance.choice((0, 7, 4000)))

    def _beside(self, path: Path, chance: random.Random) -> None:
        """What other tools keep, and previews."""
        stem = path.with_suffix("")
        for ending, data in chance.sample(list(_COMPANIONS.items()), chance.choice((1, 2))):
            text = as_json(changed_data(json.loads(json.dumps(data)), chance), chance)
            hurting = ("[" * DEEP, '{"trainedWords":[' + '"",' * 10**6 + '""]}', "[" + "[]," * 10**6 + "1]")
            spoilt = chance.choice(hurting) if chance.random() < 0.05 else text
            written(stem.with_name(stem.name + ending), encoded(spoilt, chance))
        picture = io.BytesIO()
        sides = (2800, 2850) if chance.random() < 0.02 else (9000, 9000) if chance.random() < 0.02 else (40, 30)
        form, modes = chance.choice((("PNG", ("RGB", "RGBA", "P", "LA", "I;16", "1")), ("WEBP", ("RGB", "RGBA"))))
        Image.new(chance.choice(modes), sides).save(picture, form)
        ending = chance.choice((".png", ".preview.png", ".jpg", ".webp"))
        written(stem.with_name(stem.name + ending), changed_bytes(picture.getvalue(), chance))
