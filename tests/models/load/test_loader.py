"""A whole folder loads, a damaged one is refused in words before anything big is read."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.golden.make_tiny_weights import tiny_weights
from tests.models.stock import GOLDEN_CONFIG, golden_module, normal, rel, stock_velocity
from zimage_app.domain.errors import LoadingCancelled, ModelError
from zimage_app.models.components import Components, LatentFormat
from zimage_app.models.find.catalogue import find_model
from zimage_app.models.find.model_files import CONFIGS
from zimage_app.models.load.loader import FLUX_PREVIEW, LoadProgress, ignore_progress, load_components, load_transformer
from zimage_app.models.load.memory_plan import plan_memory
from zimage_app.models.networks.networks import TEXT_ENCODER as TEXT_KIND
from zimage_app.models.networks.networks import TRANSFORMER as TRANSFORMER_KIND
from zimage_app.models.networks.networks import VAE as VAE_KIND
from zimage_app.models.networks.networks import NetworkKind
from zimage_app.models.weights.placement import MemoryPlan, plan_for
from zimage_app.models.weights.weight_file import open_file, read_json

CPU = plan_for(1, torch.device("cpu"))
TRANSFORMER = "transformer/diffusion_pytorch_model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return shutil.copytree(tiny_folder, tmp_path / "tiny")


def load(folder: Path, plan: MemoryPlan = CPU, seen: list[LoadProgress] | None = None) -> Components:
    source = find_model(str(folder), folder.parent)
    return load_components(source, plan, ignore_progress if seen is None else seen.append)


def velocity(components: Components) -> Tensor:
    transformer = components.transformer
    prompt = transformer.prompt(components.text.encode("a boat"))
    x = normal(1, 16, 12, 8).to(transformer.dtype)
    return transformer.evaluation((12, 8), [prompt], [0.5])(x, 0.5)


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def edit_tensors(path: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def shard(path: Path) -> None:
    """Two files and an index in place of one."""
    tensors = load_file(path)
    names = [f"{path.stem}-0000{number}-of-00002.safetensors" for number in (1, 2)]
    places = {key: names[position % 2] for position, key in enumerate(tensors)}
    for name in names:
        save_file({key: tensor for key, tensor in tensors.items() if places[key] == name}, path.with_name(name))
    index = path.with_name(path.name + ".index.json")
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}), encoding="utf-8")
    path.unlink()


def test_the_demo_model_loads() -> None:
    models = Path(__file__).parents[3] / "models"
    source = find_model("demo", models)
    plan = plan_memory(source, "cpu")
    components = load_components(source, plan)
    config = json.loads((models / "demo" / "vae" / "config.json").read_text(encoding="utf-8"))
    assert plan.dtype == components.transformer.dtype == torch.float32
    assert components.latent == LatentFormat(config["scaling_factor"], config["shift_factor"])
    assert components.preview != FLUX_PREVIEW
    assert torch.isfinite(velocity(components)).all()


@pytest.mark.parametrize(
    ("kind", "part", "parameters"),
    [
        (TRANSFORMER_KIND, "transformer", 6_154_908_736),
        (VAE_KIND, "vae", 83_819_683),
        # Of 4 022 468 096, without the last of 36 layers (100 930 816) and the final norm (2560).
        (TEXT_KIND, "text_encoder", 3_921_534_720),
    ],
)
def test_the_shipped_configs_describe_the_published_model(kind: NetworkKind, part: str, parameters: int) -> None:
    module = kind.build_empty(read_json(CONFIGS / part / "config.json"))
    assert sum(parameter.numel() for parameter in module.parameters()) == parameters


class _NoSocket(socket.socket):
    """A machine without a network."""

    def connect(self, address: Any) -> None:
        """Nobody answers."""
        raise AssertionError(f"loading wanted to reach {address}")


def test_loading_needs_no_network(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", _NoSocket)
    with pytest.raises(AssertionError, match="wanted to reach"):
        socket.create_connection(("127.0.0.1", 9))
    load(tiny_folder)


def test_importing_the_loader_is_cheap() -> None:
    code = (
        "import sys; import zimage_app.models.load.loader, zimage_app.models.load.memory_plan;"
        " import zimage_app.models.find.catalogue;"
        " assert not {'diffusers', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=True)


def test_progress_ends_at_one(folder: Path) -> None:
    seen: list[LoadProgress] = []
    load(folder, seen=seen)
    fractions = [item.fraction for item in seen]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)
    assert list(dict.fromkeys(item.part.en for item in seen)) == ["text encoder", "transformer", "VAE", "done"]


def test_reading_stops_between_tensors(folder: Path) -> None:
    source = find_model(str(folder), folder.parent)
    seen: list[LoadProgress] = []
    with pytest.raises(LoadingCancelled):
        load_components(source, CPU, seen.append, cancelled=lambda: len(seen) == 40)
    assert len(seen) == 40
    assert seen[-1].part.en == "transformer"


def test_shards_hold_the_same(folder: Path, tiny_folder: Path) -> None:
    for name in (TRANSFORMER, TEXT, VAE):
        shard(folder / name)
    assert rel(velocity(load(folder)), velocity(load(tiny_folder))) < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_plan_decides_the_dtype(tiny_folder: Path, dtype: torch.dtype) -> None:
    components: Any = load(tiny_folder, MemoryPlan(CPU.device, dtype, CPU.reason))
    for module in (components.transformer.module, components.text.module, components.codec.module):
        assert {parameter.dtype for parameter in module.parameters()} == {dtype}
    # In bfloat16 the angles of the text model's positions would be wrong by whole turns.
    prompt, exact = "a long prompt " * 30, load(tiny_folder).text
    assert rel(components.text.encode(prompt), exact.encode(prompt)) < 3e-2
    assert rel(velocity(components), velocity(load(tiny_folder))) < 3e-2


def test_extra_files_do_no_harm(folder: Path, tiny_folder: Path) -> None:
    for name in ("README.md", "assets/picture.png", "transformer/notes.txt", "tokenizer/merges.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("", encoding="utf-8")
    assert torch.equal(velocity(load(folder)), velocity(load(tiny_folder)))


def test_its_own_preview_factors(folder: Path) -> None:
    assert load(folder).preview == FLUX_PREVIEW
    factors = [[0.1, 0.2, number] for number in range(16)]
    (folder / "preview.json").write_text(json.dumps({"factors": factors, "bias": [1, 2, 3]}), encoding="utf-8")
    preview = load(folder).preview
    assert preview.factors[5] == (0.1, 0.2, 5.0)
    assert preview.bias == (1.0, 2.0, 3.0)


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model.", "diffusion_model."])
def test_a_transformer_alone_in_comfyuis_names(tmp_path: Path, prefix: str) -> None:
    path = tmp_path / "tiny.safetensors"
    save_file({prefix + key: tensor for key, tensor in tiny_weights().items()}, path)
    fast = load_transformer(path, GOLDEN_CONFIG, CPU)
    x, features = normal(1, 16, 8, 6), normal(20, 64, seed=3)
    v = fast.evaluation((8, 6), [fast.prompt(features)], [0.5])(x, 0.5)
    assert rel(v, stock_velocity(golden_module(), x, 0.5, [features])) < 1e-5


def lack_config(folder: Path) -> None:
    (folder / "transformer" / "config.json").unlink()


def lack_weights(folder: Path) -> None:
    (folder / VAE).unlink()


def cut_off(folder: Path) -> None:
    path = folder / TRANSFORMER
    path.write_bytes(path.read_bytes()[:-100])


def overlong(folder: Path) -> None:
    path = folder / TRANSFORMER
    path.write_bytes(path.read_bytes() + b"\0" * 64)


def wrong_offsets(folder: Path) -> None:
    path = folder / TRANSFORMER
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = raw[8 : 8 + length]
    damaged = header.replace(b'"F32"', b'"F64"', 1)
    assert damaged != header
    path.write_bytes(raw[:8] + damaged + raw[8 + length :])


def wrong_header(folder: Path) -> None:
    path = folder / TRANSFORMER
    path.write_bytes(b"<!DOCTYPE html><html>not found</html>" * 20)


def empty_file(folder: Path) -> None:
    (folder / TEXT).write_bytes(b"")


def lack_key(folder: Path) -> None:
    edit_tensors(folder / TRANSFORMER, lambda tensors: tensors.pop("layers.1.attention.to_k.weight"))


def foreign_key(folder: Path) -> None:
    edit_tensors(folder / TRANSFORMER, lambda tensors: tensors.update({"layers.9.extra": torch.zeros(1)}))


def wrong_shape(folder: Path) -> None:
    edit_tensors(folder / VAE, lambda tensors: tensors.update({"decoder.conv_in.weight": torch.zeros(8, 16, 1, 1)}))


def other_architecture(folder: Path) -> None:
    path = folder / TRANSFORMER
    save_file({f"double_blocks.{number}.img_attn.qkv.weight": torch.zeros(2, 2) for number in range(9)}, path)


def foreign(*keys: str) -> Callable[[Path], None]:
    """Another model's weights where the transformer should be."""

    def damage(folder: Path) -> None:
        save_file({key.format(number): torch.zeros(2, 2) for key in keys for number in range(9)}, folder / TRANSFORMER)

    return damage


def few_layers(folder: Path) -> None:
    """Little of a transformer, and yet no other model."""
    save_file({"layers.0.attention.qkv.weight": torch.zeros(192, 64)}, folder / TRANSFORMER)


def hidden_copy(folder: Path) -> None:
    """What macOS leaves beside a file is not taken for a second one."""
    lack_key(folder)
    path = folder / TRANSFORMER
    path.with_name(f"._{path.name}").write_bytes(b"Mac OS X")


def endless_shape(folder: Path) -> None:
    _with_header(folder / TRANSFORMER, b'{"a":{"dtype":"F32","shape":[1e999],"data_offsets":[0,4]}}')


def negative_shape(folder: Path) -> None:
    _with_header(folder / TRANSFORMER, b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[4,0]}}')


def deep_header(folder: Path) -> None:
    _with_header(folder / TRANSFORMER, b'{"a":' + b"[" * 100_000)


def _with_header(path: Path, header: bytes) -> None:
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)


def deep_json(folder: Path) -> None:
    (folder / "vae" / "config.json").write_text("[" * 100_000, encoding="utf-8")


def vae_for_transformer(folder: Path) -> None:
    shutil.copy(folder / VAE, folder / TRANSFORMER)


def text_encoder_for_transformer(folder: Path) -> None:
    shutil.copy(folder / TEXT, folder / TRANSFORMER)


def transformer_for_vae(folder: Path) -> None:
    shutil.copy(folder / TRANSFORMER, folder / VAE)


def lfs_pointer(folder: Path) -> None:
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 24619814000\n"
    (folder / TRANSFORMER).write_text(text, encoding="utf-8")


def random_bytes(folder: Path) -> None:
    (folder / TRANSFORMER).write_bytes(bytes((37 * number + 11) % 251 for number in range(4000)))


def renamed_checkpoint(folder: Path) -> None:
    torch.save({"layers.0.weight": torch.zeros(2)}, folder / TRANSFORMER)


def old_pickle(folder: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, folder / TRANSFORMER, _use_new_zipfile_serialization=False)


def only_a_pickle(folder: Path) -> None:
    (folder / TEXT).rename((folder / TEXT).with_name("pytorch_model.bin"))


def cut_off_shard(folder: Path) -> None:
    shard(folder / TRANSFORMER)
    path = next(iter((folder / "transformer").glob("*-00002-of-00002.safetensors")))
    path.write_bytes(path.read_bytes()[:-8])


def bitsandbytes(folder: Path) -> None:
    marks = {"layers.0.feed_forward.w1.weight.absmax": torch.zeros(4)}
    edit_tensors(folder / TRANSFORMER, lambda tensors: tensors.update(marks))


def nunchaku(folder: Path) -> None:
    edit_tensors(
        folder / TRANSFORMER, lambda tensors: tensors.update({"layers.0.attention.to_q.wscales": torch.zeros(4)})
    )


def sdnq(folder: Path) -> None:
    edit_json(folder / "transformer" / "config.json", quantization_config={"quant_method": "sdnq", "weights": "int8"})


def lone_scale(folder: Path) -> None:
    edit_tensors(folder / TRANSFORMER, lambda tensors: tensors.update({"layers.7.w.weight_scale": torch.ones(1)}))


def lora_for_model(folder: Path) -> None:
    path = folder / TRANSFORMER
    save_file({f"layers.{number}.attention.to_q.lora_A.weight": torch.zeros(2, 2) for number in range(9)}, path)


def lack_shard(folder: Path) -> None:
    shard(folder / TRANSFORMER)
    next(iter((folder / "transformer").glob("*-00002-of-00002.safetensors"))).unlink()


def wrong_index(folder: Path) -> None:
    shard(folder / TRANSFORMER)
    index = folder / (TRANSFORMER + ".index.json")
    places = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    index.write_text(
        json.dumps({"weight_map": places | {"ghost.weight": next(iter(places.values()))}}), encoding="utf-8"
    )


def bad_json(folder: Path) -> None:
    (folder / "vae" / "config.json").write_text('{"latent_channels": 16,', encoding="utf-8")


def list_json(folder: Path) -> None:
    (folder / "vae" / "config.json").write_text("[1, 2]", encoding="utf-8")


def lack_tokenizer(folder: Path) -> None:
    (folder / "tokenizer" / "tokenizer.json").unlink()


def other_tokenizer(folder: Path) -> None:
    path = folder / "tokenizer" / "tokenizer.json"
    path.write_text(path.read_text(encoding="utf-8").replace("<|im_end|>", "<|end_of_turn|>"), encoding="utf-8")
    edit_json(folder / "tokenizer" / "tokenizer_config.json", eos_token="<|end_of_turn|>")


def larger_tokenizer(folder: Path) -> None:
    edit_json(folder / "text_encoder" / "config.json", vocab_size=100)
    edit_tensors(folder / TEXT, lambda tensors: tensors.update({"embed_tokens.weight": torch.zeros(100, 32)}))


def wrong_channels(folder: Path) -> None:
    edit_json(folder / "vae" / "config.json", latent_channels=4)
    edit_tensors(folder / VAE, _four_channels)


def _four_channels(tensors: dict[str, Tensor]) -> None:
    tensors["decoder.conv_in.weight"] = torch.zeros(8, 4, 3, 3)
    tensors["encoder.conv_out.weight"] = torch.zeros(8, 8, 3, 3)
    tensors["encoder.conv_out.bias"] = torch.zeros(8)


def wrong_class(folder: Path) -> None:
    edit_json(folder / "transformer" / "config.json", _class_name="FluxTransformer2DModel")


def too_many_layers(folder: Path) -> None:
    edit_json(folder / "transformer" / "config.json", n_layers=10**8)


def a_catastrophic_pattern(folder: Path) -> None:
    """Quick to read, and for ever at work on a prompt of forty letters."""
    edit_json(
        folder / "tokenizer" / "tokenizer.json",
        pre_tokenizer={"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False},
    )


def unknown_setting(folder: Path) -> None:
    edit_json(folder / "transformer" / "config.json", warp=9)


def senseless_config(folder: Path) -> None:
    edit_json(folder / "transformer" / "config.json", dim="wide")


def uneven_heads(folder: Path) -> None:
    edit_json(folder / "transformer" / "config.json", axes_dims=[8, 12, 10])


def other_text_model(folder: Path) -> None:
    edit_json(folder / "text_encoder" / "config.json", model_type="llama")


def other_text_width(folder: Path) -> None:
    edit_json(folder / "transformer" / "config.json", cap_feat_dim=48)
    edit_tensors(folder / TRANSFORMER, _wider_captions)


def _wider_captions(tensors: dict[str, Tensor]) -> None:
    tensors["cap_embedder.0.weight"] = torch.ones(48)
    tensors["cap_embedder.1.weight"] = torch.zeros(64, 48)


def two_files(folder: Path) -> None:
    shutil.copy(folder / VAE, folder / "vae" / "older.safetensors")


def whole_numbers(folder: Path) -> None:
    edit_tensors(
        folder / TRANSFORMER,
        lambda tensors: tensors.update({"layers.0.feed_forward.w2.weight": torch.zeros(64, 170, dtype=torch.int8)}),
    )


def bad_preview(folder: Path) -> None:
    (folder / "preview.json").write_text('{"factors": [[1, 2, 3]], "bias": [0, 0, 0]}', encoding="utf-8")


DAMAGE: list[tuple[Callable[[Path], None], list[str]]] = [
    (lack_config, ["transformer/config.json is missing", "again"]),
    (lack_weights, ["tiny/vae holds no .safetensors or .gguf file"]),
    (cut_off, [TRANSFORMER, "cut off", "again"]),
    (overlong, [TRANSFORMER, "damaged", "again"]),
    (wrong_offsets, [TRANSFORMER, "damaged header", "again"]),
    (wrong_header, [TRANSFORMER, "web page", "again"]),
    (empty_file, [TEXT, "is empty", "again"]),
    (lack_key, [TRANSFORMER, "lacks 1 of", "layers.1.attention.to_k.weight", "again"]),
    (foreign_key, [TRANSFORMER, "layers.9.extra", "same model"]),
    (wrong_shape, [VAE, "decoder.conv_in.weight", "(8, 16, 1, 1)", "(8, 16, 3, 3)"]),
    (other_architecture, [TRANSFORMER, "Flux", "right model"]),
    (foreign("input_blocks.{}.0.weight"), [TRANSFORMER, "Stable Diffusion 1/2/XL", "right model"]),
    (foreign("down_blocks.{}.resnets.0.conv1.weight"), [TRANSFORMER, "Stable Diffusion 1/2/XL", "right model"]),
    (foreign("joint_blocks.{}.x_block.attn.qkv.weight"), [TRANSFORMER, "Stable Diffusion 3", "right model"]),
    (foreign("transformer_blocks.{}.attn.add_q_proj.weight"), [TRANSFORMER, "Qwen-Image", "right model"]),
    (foreign("blocks.{}.self_attn.q.weight"), [TRANSFORMER, "Wan", "right model"]),
    (foreign("lora_unet_double_blocks_{}.lora_up.weight"), [TRANSFORMER, "LoRA", "right model"]),
    (foreign("quite.another.{}"), [TRANSFORMER, "first key quite.another.0", "right model"]),
    (few_layers, [TRANSFORMER, "lacks ", "first all_final_layer", "again"]),
    (hidden_copy, [TRANSFORMER, "lacks 1 of"]),
    (endless_shape, [TRANSFORMER, "damaged header", "again"]),
    (negative_shape, [TRANSFORMER, "damaged header", "again"]),
    (deep_header, [TRANSFORMER, "not a safetensors file", "again"]),
    (deep_json, ["vae/config.json", "JSON"]),
    (vae_for_transformer, [TRANSFORMER, "VAE", "right model"]),
    (text_encoder_for_transformer, [TRANSFORMER, "language model", "right model"]),
    (transformer_for_vae, [VAE, "Z-Image VAE", "right model"]),
    (lfs_pointer, [TRANSFORMER, "Git LFS pointer", "git lfs pull"]),
    (random_bytes, [TRANSFORMER, "not a safetensors file", "again"]),
    (renamed_checkpoint, [TRANSFORMER, "is a pickle", ".safetensors"]),
    (old_pickle, [TRANSFORMER, "is a pickle", ".safetensors"]),
    (only_a_pickle, ["text_encoder/pytorch_model.bin", "is a pickle", ".safetensors"]),
    (cut_off_shard, ["transformer/diffusion_pytorch_model-00002-of-00002.safetensors", "cut off"]),
    (bitsandbytes, [TRANSFORMER, "bitsandbytes", "layers.0.feed_forward.w1.weight.absmax", "GGUF"]),
    (nunchaku, [TRANSFORMER, "Nunchaku", "layers.0.attention.to_q.wscales", "GGUF"]),
    (sdnq, ["transformer/config.json", "sdnq", "GGUF"]),
    (lone_scale, [TRANSFORMER, "layers.7.w.weight_scale", "no layers.7.w.weight"]),
    (lora_for_model, [TRANSFORMER, "LoRA"]),
    (lack_shard, ["transformer/diffusion_pytorch_model-00002-of-00002.safetensors is missing"]),
    (wrong_index, ["ghost.weight", "does not hold it"]),
    (bad_json, ["vae/config.json", "JSON", "line 1"]),
    (list_json, ["vae/config.json", "JSON object"]),
    (lack_tokenizer, ["tokenizer/tokenizer.json is missing"]),
    (other_tokenizer, ["tiny/tokenizer", "<|im_end|>", "right one"]),
    (larger_tokenizer, ["tiny/tokenizer", "259 tokens", "vocab_size 100"]),
    (wrong_channels, ["vae/config.json", "latent_channels 4", "in_channels 16", "transformer/config.json"]),
    (wrong_class, ["transformer/config.json", "FluxTransformer2DModel"]),
    (too_many_layers, ["transformer/config.json", "n_layers is 1e+08; at most 256"]),
    (a_catastrophic_pattern, ["tokenizer", "(a+)+$", "not Qwen's pattern"]),
    (unknown_setting, ["transformer/config.json", "unknown setting warp"]),
    (senseless_config, ["transformer/config.json", "does not describe"]),
    (uneven_heads, ["transformer/config.json", "axes_dims is 60, but dim is 64"]),
    (other_text_model, ["text_encoder/config.json", "llama"]),
    (other_text_width, ["text_encoder/config.json", "hidden_size 32", "cap_feat_dim 48"]),
    (two_files, ["tiny/vae", "older.safetensors", "leave just one"]),
    (whole_numbers, [TRANSFORMER, "layers.0.feed_forward.w2", "int8"]),
    (bad_preview, ["preview.json", "1 rows"]),
]


@pytest.mark.parametrize(("damage", "words"), DAMAGE)
def test_damage_is_named(folder: Path, damage: Callable[[Path], None], words: list[str]) -> None:
    damage(folder)
    seen: list[LoadProgress] = []
    with pytest.raises(ModelError) as caught:
        load(folder, seen=seen)
    message = caught.value.text
    for word in words:
        assert word in message.en
    assert message.en.endswith(".")
    assert message.zh.endswith("。")
    assert words[0].split(" ")[0] in message.zh
    assert "\n" not in message.en
    assert not seen, "nothing may be read before everything was judged"


def test_a_file_that_may_not_be_read_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("zimage_app.models.weights.weight_file.open_regular", refuse)
    with pytest.raises(ModelError, match=rf"{TRANSFORMER} cannot be read \(Permission denied\); check its permissions"):
        open_file(folder / TRANSFORMER)
