"""F1: pictures and settings of others. Whole ones are made as each program writes them, and then spoilt.

Pictures are spoilt chunk by chunk with right and with wrong checksums, texts by what they mean: JSON value by value,
A1111's text letter by letter; and there are those that are only made to hurt: bombs, depth, patterns' worst cases.
"""

from __future__ import annotations

import io
import json
import random
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from tests.reliability.cases import Case, sound, written
from tests.reliability.mutations import DEEP, as_json, changed_bytes, changed_data, changed_text, encoded, odd, repeated
from tests.service.records import a_record
from zimage_app.domain.errors import ImportedFileError, StorageError
from zimage_app.domain.request import parse_request
from zimage_app.domain.settings.start_picture import StartPicture
from zimage_app.service.generation.start_pictures import PictureInputs
from zimage_app.service.imports import read_file
from zimage_app.service.pictures.gallery import TEXT_KEY, Gallery, read_metadata
from zimage_app.service.pictures.history import History

_DATA = Path(__file__).parents[1] / "data" / "imports"
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MILLION = 2**20
Chunk = tuple[bytes, bytes]
"""(type, contents)"""

INFOTEXT = (
    "masterpiece, <lora:ink:0.8>, a (boat:1.2)\non a lake\nNegative prompt: blurry, \nlow quality\n"
    "Steps: 20, Sampler: DPM++ SDE Karras, Schedule type: Karras, CFG scale: 4.5, Seed: 7, Size: 512x760, "
    "Model: z_image_base, Denoising strength: 0.5, Clip skip: 2, Hires upscale: 1.5, Hires steps: 9, "
    'Hires upscaler: Latent (nearest-exact), Lora hashes: "ink: 123, b: 4", Version: f2.0.1'
)
SWARM = {
    "prompt": "a boat <lora:ink:0.5>", "negativeprompt": "fog", "model": "z_image_turbo", "images": 1, "seed": 7,
    "steps": 9, "cfgscale": 1.5, "width": 1024, "height": 768, "sampler": "euler", "scheduler": "simple",
    "sigmashift": 3.0, "loras": ["ink", "snow"], "loraweights": ["0.5", 1], "refinermethod": "PostApply",
    "refinercontrolpercentage": 0.4, "refinerupscale": 1.5, "refinersteps": 12, "refinercfgscale": 2,
    "refinerupscalemethod": "latent-bislerp", "swarm_version": "0.9",
}  # fmt: skip
INVOKE = {
    "app_version": "6.9", "generation_mode": "z_image_txt2img", "positive_prompt": "a boat", "negative_prompt": "fog",
    "width": 1024, "height": 768, "seed": 7, "cfg_scale": 1.0, "steps": 9, "scheduler": "euler", "shift": 3.0,
    "model": {"name": "Z-Image Turbo", "base": "z-image", "type": "main"},
    "loras": [{"model": {"name": "ink", "key": "a"}, "weight": 0.75}],
}  # fmt: skip
_SLOW = (
    "Steps: 1 ", "Steps: 1, ", "a ", "a: ", "a:", "<lora:", "<lora:a>", "<", "(", "(a:", "(a:1", "{", "{a|", "[", "__a",
    '"', '\\"', '"\\', ", ", " ", "\n", "\t", "Negative prompt:", "Size: 1x", "1", "1x1 ", "\0", "，", "：", "-", "_",
    "Steps: 1\n", "Hires steps: 1", "\\", "a.", "a b", ":", ": ",
)  # fmt: skip


class Pictures:
    """Makes the cases of F1. Files are written below ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "file.png"
        self._outputs = folder / "history"
        self._history = History(self._outputs)
        self._inputs = PictureInputs(folder / "inputs")
        saved = Gallery(folder / "outputs").save(np.zeros((48, 32, 3), np.uint8), a_record(), "somebody")
        self._ours = saved.path.read_bytes()
        self._graphs = [json.loads((_DATA / f"reference_{form}.json").read_text("utf-8")) for form in ("api", "editor")]

    def __call__(self, chance: random.Random) -> Case:
        kinds: tuple[tuple[Callable[[random.Random], bytes], int], ...] = (
            (self._spoilt_chunks, 6), (self._spoilt_texts, 6), (self._spoilt_bytes, 4), (self._bare, 5),
            (self._exif, 3), (self._bombs, 2), (self._slow, 2), (self._record, 4),
        )  # fmt: skip
        (make,) = chance.choices([kind for kind, _ in kinds], [weight for _, weight in kinds])
        path = written(self._path, make(chance))
        listed = chance.random() < 0.1 or make == self._record

        def read() -> None:
            if listed:
                self._list(path)
            self._start_from(path)
            _read(path)

        return Case(make.__name__.strip("_"), read)

    def _list(self, path: Path) -> None:
        """The file among the pictures that were made, as somebody may copy it there."""
        place = self._outputs / "2026-01-02" / "20260102-030405-0a1b2c3d.png"
        place.unlink(missing_ok=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
        assert self._history.refresh(60.0)
        for item in self._history.page(None).items:
            f"{item.prompt}{item.model}{item.created.isoformat()}".encode()
            json.dumps([item.seed, item.width, item.height, item.seconds], allow_nan=False)
            assert self._history.find(item.id, None) is not None
        self._history.days(None)

    def _start_from(self, path: Path) -> None:
        """The file as a picture to start from."""
        try:
            kept = self._inputs.save_file(path)
        except ImportedFileError as error:
            sound(error.text)
            return
        assert self._inputs.load(StartPicture(picture=kept.sha256), (32, 48)).shape == (48, 32, 3)
        assert self._inputs.thumbnail(kept.sha256) is not None

    # Whole ones.

    def _texts(self, chance: random.Random) -> dict[str, str]:
        """Texts as a program writes them into a PNG."""
        api, editor = (json.dumps(graph) for graph in self._graphs)
        return chance.choice(
            (
                {"prompt": api, "workflow": editor},
                {"workflow": editor},
                {"parameters": INFOTEXT},
                {"parameters": json.dumps({"sui_image_params": SWARM})},
                {"invokeai_metadata": json.dumps(INVOKE), "invokeai_graph": "{}"},
                {TEXT_KEY: a_record().to_json(), "parameters": a_record().parameters_text},
            )
        )

    def _spoilt_texts(self, chance: random.Random) -> bytes:
        """A sound PNG whose texts say odd things."""
        texts = {key: self._spoilt(text, chance) for key, text in self._texts(chance).items()}
        return _png([_text_chunk(key, text, chance) for key, text in texts.items()])

    def _spoilt(self, text: str, chance: random.Random) -> str:
        if text.startswith("{") and chance.random() < 0.8:
            return as_json(changed_data(json.loads(text), chance), chance)
        return changed_text(text, chance)

    def _bare(self, chance: random.Random) -> bytes:
        """The same texts as files of their own."""
        text = chance.choice(list(self._texts(chance).values()))
        spoilt = encoded(self._spoilt(text, chance), chance)
        return changed_bytes(spoilt, chance) if chance.random() < 0.2 else spoilt

    def _record(self, chance: random.Random) -> bytes:
        """Our own settings with other values."""
        data = changed_data(json.loads(a_record().to_json()), chance)
        chunk = _text_chunk(TEXT_KEY, as_json(data, chance), chance)
        return _png([chunk]) if chance.random() < 0.8 else as_json(data, chance).encode("utf-8", "surrogatepass")

    # Spoilt ones.

    def _any_picture(self, chance: random.Random) -> bytes:
        if chance.random() < 0.4:
            return self._ours
        return _png([_text_chunk(key, text, chance) for key, text in self._texts(chance).items()])

    def _spoilt_bytes(self, chance: random.Random) -> bytes:
        return changed_bytes(self._any_picture(chance), chance)

    def _spoilt_chunks(self, chance: random.Random) -> bytes:
        chunks = _chunks(self._any_picture(chance))
        out = bytearray(_SIGNATURE)
        for _ in range(chance.choice((1, 1, 2, 5))):
            _spoil(chunks, chance)
        for kind, data in chunks:
            length = chance.choice((0, 1, 2**31 - 1, 2**31, 2**32 - 1)) if chance.random() < 0.03 else len(data)
            checksum = zlib.crc32(kind + data) ^ (chance.random() < 0.05)
            out += struct.pack(">I", length) + kind + data + struct.pack(">I", checksum)
        return bytes(out[: chance.randrange(len(out))]) if chance.random() < 0.1 else bytes(out)

    def _exif(self, chance: random.Random) -> bytes:
        """JPEG and WebP with settings as A1111, SwarmUI and ComfyUI put them there, spoilt."""
        exif = Image.Exif()
        text = self._spoilt(chance.choice(list(self._texts(chance).values())), chance)[:10_000]
        clean = text.encode("utf-8", "replace").decode()
        code = chance.choice((b"UNICODE\0", b"ASCII\0\0\0", b"\0" * 8, b"", b"JIS\0"))
        letters = chance.choice(("utf-16-be", "utf-16-le", "utf-8"))
        exif.get_ifd(0x8769)[0x9286] = code + clean.encode(letters)
        exif[0x010E] = f"{chance.choice(('workflow', 'prompt', 'Prompt', ''))}:{clean}"
        exif[chance.choice((0x010F, 0x0110))] = chance.choice(("prompt:{}", "x"))
        file = io.BytesIO()
        form = chance.choice(("JPEG", "WEBP", "PNG"))
        Image.new("RGB", (32, 48)).save(file, form, exif=exif.tobytes())
        return changed_bytes(file.getvalue(), chance) if chance.random() < 0.6 else file.getvalue()

    # Those that are made to hurt.

    def _bombs(self, chance: random.Random) -> bytes:
        size = chance.choice((1, 4, 15)) * _MILLION
        wide = chance.choice(('{"prompt":[', '{"nodes":[', "[", '{"sui_image_params":{"loras":['))
        member = chance.choice(("[],", "{},", '"",', "1,", '{"a":1},', '[["a",0]],', '{"class_type":"a"},'))
        text = wide + member * (size // len(member))
        deep = chance.choice(("[", '{"a":', '{"prompt":', '[{"":')) * DEEP
        keyed = "{" + ",".join(f'"{number}":{{"class_type":"K","inputs":{{}}}}' for number in range(size // 60)) + "}"
        number = '{"schema_version":' + "9" * chance.choice((300, 5000, size)) + "}"
        texts = (text, text[:-1] + "]" * 2 + "}", deep, keyed, number, " " * size, "\0" * size, "Steps: 1" + "a" * size)
        chosen = chance.choice(texts)
        if chance.random() < 0.3:
            return chosen.encode()
        key = chance.choice(("prompt", "workflow", "parameters", TEXT_KEY, "invokeai_metadata"))
        return _png([_text_chunk(key, chosen, chance)] * chance.choice((1, 1, 3)))

    def _slow(self, chance: random.Random) -> bytes:
        text = repeated(_SLOW, chance, chance.choice((3000, 30_000, 300_000)))
        tail = chance.choice(("", "\nSteps: 1, Sampler: Euler", "\nSteps: 1, Seed: 1, " + text))
        start = chance.choice(("", "a <lora:ink>", "Steps: 1, ", "Negative prompt: ", "Steps: 1, Size: "))
        whole = start + text + tail
        forms = (whole, json.dumps({"sui_image_params": SWARM | {"prompt": whole, "sampler": text}}),
                 json.dumps(INVOKE | {"positive_prompt": whole, text: text, "model": text}))  # fmt: skip
        chosen = chance.choice(forms)
        return chosen.encode() if chance.random() < 0.5 else _png([_text_chunk("parameters", chosen, chance)])


def _read(path: Path) -> None:
    """Both ways in which the app reads such files; what the second one refuses is no concern of the first."""
    try:
        head = read_metadata(path)
        parse_request(head.record.request.model_dump(mode="json"))
        head.owner.encode()
    except StorageError as error:
        sound(error.text)
    imported = read_file(path)
    parse_request({"prompt": "-"} | imported.settings)
    sound(imported.source, *imported.taken, *imported.translated, *imported.left)
    imported.model.encode()


def _png(texts: list[Chunk]) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (32, 48)).save(file, "PNG")
    chunks = _chunks(file.getvalue())
    return _joined([chunks[0], *texts, *chunks[1:]])


def _chunks(data: bytes) -> list[Chunk]:
    """The chunks of a sound PNG."""
    found: list[Chunk] = []
    at = len(_SIGNATURE)
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += length + 12
    return found


def _joined(chunks: list[Chunk]) -> bytes:
    parts = [struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
             for kind, data in chunks]  # fmt: skip
    return _SIGNATURE + b"".join(parts)


def _text_chunk(key: str, text: str, chance: random.Random) -> Chunk:
    """A text in one of the three ways of PNG."""
    name = key.encode("latin-1")
    utf = text.encode("utf-8", "surrogatepass")
    match chance.randrange(6):
        case 0:
            return b"tEXt", name + b"\0" + text.encode("latin-1", "replace")
        case 1:
            return b"zTXt", name + b"\0\0" + zlib.compress(text.encode("latin-1", "replace"), 1)
        case 2:
            return b"iTXt", name + b"\0\1\0\0\0" + zlib.compress(utf, 1)
        case _:
            return b"iTXt", name + b"\0\0\0\0\0" + utf


def _spoil(chunks: list[Chunk], chance: random.Random) -> None:
    """Something wrong with one chunk."""
    place = chance.randrange(len(chunks))
    kind, data = chunks[place]
    match chance.randrange(9):
        case 0:
            del chunks[place]
            chunks[:] = chunks or [(b"IEND", b"")]
        case 1:
            chunks.insert(chance.randrange(len(chunks) + 1), (kind, data))
        case 2:
            chance.shuffle(chunks)
        case 3:
            other = (b"IHDR", b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"iCCP", b"PLTE", b"tRNS", b"gAMA", b"pHYs", b"acTL",
                     b"fcTL", b"fdAT", b"sRGB", b"cHRM", b"cICP", b"IEND", b"\0\0\0\0", b"quux", b"QUUX")  # fmt: skip
            chunks[place] = chance.choice(other), data
        case 4:
            chunks[place] = kind, data[: chance.randrange(len(data) + 1)]
        case 5:
            chunks[place] = kind, b""
        case 6:
            sides = [chance.choice((0, 1, 32, 2**14, 2**31 - 1, 2**32 - 1)) for _ in range(2)]
            rest = bytes(chance.choice((0, 1, 2, 3, 8, 16, 255)) for _ in range(5))
            chunks[place] = b"IHDR", struct.pack(">II", *sides) + rest
        case 7:
            bomb = zlib.compress(bytes(chance.choice((2, 60)) * _MILLION), 1)
            forms = ((b"zTXt", b"prompt\0\0"), (b"iTXt", b"prompt\0\1\0\0\0"), (b"iCCP", b"a\0\0"))
            kind, start = chance.choice(forms)
            chunks.insert(1, (kind, start + bomb))
        case _:
            chunks[place] = kind, changed_bytes(data, chance)
    if chance.random() < 0.1:
        chunks.insert(1, (b"tEXt", str(odd(chance))[:70].encode("latin-1", "replace") + b"\0x"))
