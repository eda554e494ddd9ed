"""The demo model's tools, and the model folder that they made."""

import json
import math
import random
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
import yaml
from diffusers import AutoencoderKL, ZImageTransformer2DModel
from PIL import Image
from transformers import AutoTokenizer, Qwen3Model

from tools.demo_model import edges, lora, model
from tools.demo_model.canvas import FRAME_ASPECT, Canvas, rgb
from tools.demo_model.captions import (
    LANGS,
    WORDS,
    Lang,
    caption,
    chatty_caption,
    listed_caption,
    long_caption,
    unwanted_caption,
)
from tools.demo_model.edges import Sky, drawn_scenes, measured, sky_of
from tools.demo_model.export import own_weights
from tools.demo_model.latents import Latents, encode, file_of, linear_encoder, to_tensor, training_scenes
from tools.demo_model.lora import StyleTrainer, load_parts, tensors_of
from tools.demo_model.make import Effort, MakeStep, plan, run_stage
from tools.demo_model.model import (
    CHAT,
    build_transformer,
    caption_ids,
    deepened,
    encode_captions,
    main_blocks,
    pad_captions,
    patchify,
    predict,
    predict_tokens,
    unpatchify,
)
from tools.demo_model.probes import ANSWERS, Probe, accuracy, disturb, draw, fit_probe, frechet_distance, truth
from tools.demo_model.prompts import FREE_FRAMES, evaluation_prompts, read_prompts
from tools.demo_model.render import CELESTIAL_RADIUS, CELESTIAL_X, CELESTIAL_Y, PLAIN, SHAPES, SIZES, render
from tools.demo_model.scene import COLOURS, GROUNDS, KINDS, KINDS_ON, TIMES, Scene, is_held_out
from tools.demo_model.styles import STYLES, WINTER
from tools.demo_model.train import Corpus, Peers, Recipe, Trainer, handover, main, sparse_tokens, weights_of
from tools.demo_model.vae import build_vae, psnr, set_encoder
from tools.demo_model.vocabulary import THINGS, vocabulary
from zimage_app.domain.request import MAX_PROMPT
from zimage_app.models.find.card_file import plain_card, read_card
from zimage_app.service.generation.generator import load_generator
from zimage_app.service.library.loras import LoraLibrary

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "models" / "demo"
LORAS = ("demo-ink-wash", "demo-snow")
PROMPTS = ROOT / "tests" / "data" / "demo_prompts.json"
MEGABYTE = 1_000_000

RED_BOAT = Scene(
    time="sunset",
    ground="lake",
    kind="boat",
    colour="red",
    side="left",
    celestial="sun",
    celestial_colour="yellow",
    celestial_side="right",
    mountains="snowy",
    tree="pine",
    tree_count=2,
    tree_side="right",
    clouds=True,
    birds=True,
    stars="none",
)
MOON_AND_BALLOON = replace(
    RED_BOAT,
    time="night",
    ground="meadow",
    kind="balloon",
    celestial="full moon",
    celestial_colour="white",
    mountains=None,
    tree=None,
    clouds=False,
    birds=False,
    stars="many",
)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(MODEL / "tokenizer")


@pytest.fixture(scope="module")
def vae() -> Any:
    return AutoencoderKL.from_pretrained(MODEL / "vae", torch_dtype=torch.float32).eval()


# -------------------------------------------------------------------------------------------------- scenes, pictures


def test_scenes_cover_everything_and_stay_possible() -> None:
    scenes = training_scenes(2000)
    assert {scene.time for scene in scenes} == set(TIMES)
    assert {scene.ground for scene in scenes} == set(GROUNDS)
    assert {scene.kind for scene in scenes} == {*KINDS, None}
    assert {scene.colour for scene in scenes} == set(COLOURS)
    for scene in scenes:
        assert scene.kind is None or scene.kind in KINDS_ON[scene.ground]
        assert (scene.celestial == "sun") <= (scene.time != "night")
        assert scene.side == "center" or scene.tree_side != scene.side
        assert (scene.stars == "none") or scene.time == "night"
        assert not is_held_out(scene.time, scene.ground, scene.kind, scene.colour)


def test_the_same_seed_draws_the_same_picture() -> None:
    first, again, other = (np.asarray(render(RED_BOAT, seed, SIZES[0])) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize("number", range(4))
def test_the_three_sizes_show_the_same_picture(number: int) -> None:
    scene = training_scenes(4)[number]
    small, middle, large = (render(scene, number, size) for size in SIZES)
    assert (small.size, middle.size, large.size) == SIZES
    for image in (middle, large):
        shrunk = np.asarray(image.resize(small.size, Image.Resampling.BOX), dtype=float)
        difference = np.abs(shrunk - np.asarray(small, dtype=float)).mean()
        assert difference < 2.5, "grey levels between sizes"


def test_shapes_have_the_sizes_that_the_latents_were_made_in() -> None:
    assert SHAPES == {
        "7:9": ((176, 224), (336, 432), (672, 864)),
        "1:1": ((208, 208), (384, 384), (768, 768)),
        "9:7": ((224, 176), (432, 336), (864, 672)),
        "9:16": ((144, 256), (288, 512), (576, 1008)),
        "16:9": ((256, 144), (512, 288), (1008, 576)),
    }


@pytest.mark.parametrize("ratio", [ratio for ratio in SHAPES if ratio != "7:9"])
@pytest.mark.parametrize("number", range(2))
def test_things_keep_their_places_and_proportions_in_other_shapes(ratio: str, number: int) -> None:
    """A white moon and a red balloon: same proportions of their boxes, and middles at the same shares of the sides."""
    scene = replace(MOON_AND_BALLOON, side=("left", "right")[number], celestial_side=("right", "left")[number])
    usual, other = (np.asarray(render(scene, number, SHAPES[each][2]), dtype=int) for each in ("7:9", ratio))
    for colour in ("red", "white"):
        (x, y, aspect), (other_x, other_y, other_aspect) = (_box(picture, colour) for picture in (usual, other))
        assert other_aspect == pytest.approx(aspect, rel=0.03), colour
        assert (other_x, other_y) == pytest.approx((x, y), abs=0.06), colour


def _box(picture: npt.NDArray[np.int_], colour: str) -> tuple[float, float, float]:
    """Return the middle of a colour's pixels, as shares of width and height, and their box's width / height."""
    red, green, blue = (picture[..., channel] for channel in range(3))
    found = (red > 120) & (green < 80) if colour == "red" else (red > 225) & (green > 225) & (blue > 240)
    ys, xs = np.nonzero(found)
    box = np.ptp(xs) + 1, np.ptp(ys) + 1
    return (xs.min() + box[0] / 2) / picture.shape[1], (ys.min() + box[1] / 2) / picture.shape[0], box[0] / box[1]


@pytest.mark.parametrize("ratio", SHAPES)
def test_waves_reach_from_edge_to_edge(ratio: str) -> None:
    scene = replace(RED_BOAT, ground="sea", kind=None, celestial=None, tree=None, time="day")
    picture = np.asarray(render(scene, 3, SHAPES[ratio][1]), dtype=int)
    water = picture[int(picture.shape[0] * 0.62) : int(picture.shape[0] * 0.75)]
    left, right = (np.abs(np.diff(part, axis=1)).mean() for part in np.array_split(water, 4, axis=1)[::3])
    assert left > 0.5
    assert right == pytest.approx(left, rel=0.35)


def test_the_main_thing_has_its_colour_and_side() -> None:
    pixels = np.asarray(render(RED_BOAT, 5, SIZES[0]), dtype=int)
    hull = (pixels[..., 0] > 140) & (pixels[..., 1] < 90) & (pixels[..., 2] < 90)
    rows, columns = np.nonzero(hull[140:200])
    assert len(rows) > 200
    assert columns.mean() < 176 / 2


def test_a_probe_learns_to_tell_what_is_drawn() -> None:
    probe = fit_probe("7:9", 200, epochs=6)
    right = accuracy(probe, draw(60, 5, "7:9"))
    assert set(right) == set(ANSWERS)
    assert right["time"] >= 0.85
    assert right["ground"] >= 0.6, "a guess is right in a fifth"


def test_a_probe_has_an_answer_for_everything_in_a_scene() -> None:
    found = Probe().eval().answers(render(RED_BOAT, 1, SIZES[0]))
    for name, value in truth(RED_BOAT).items():
        assert value is None or value in ANSWERS[name]
        assert found[name] in ANSWERS[name]


def test_disturbed_pictures_keep_their_size_and_differ() -> None:
    pictures = draw(3, 6, "9:7").pictures.float() / 127.5 - 1
    disturbed = disturb(pictures, torch.Generator().manual_seed(0))
    assert disturbed.shape == pictures.shape
    assert 0.01 < (disturbed - pictures).abs().mean() < 0.4


def test_the_frechet_distance_of_normal_distributions_is_the_known_one() -> None:
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(40000, 3, generator=generator)
    second = 2 * torch.randn(40000, 3, generator=generator) + 1
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(first, second) == pytest.approx(3 * 1**2 + 3 * (2 - 1) ** 2, rel=0.03)


def test_drawn_suns_and_moons_are_round() -> None:
    for number, scene in enumerate(drawn_scenes(12)):
        disc = measured(render(scene, 700000 + number, SIZES[1]), sky_of(scene))
        assert disc is not None
        assert disc.roundness > 0.98
        assert disc.raggedness < 2


def test_a_dented_sun_is_as_ragged_as_it_was_drawn() -> None:
    width, height = SIZES[1]
    canvas = Canvas(width, height, 4)
    canvas.box((0, 0), (1, 1), rgb("#2060c0"))
    x, y = CELESTIAL_X["right"], CELESTIAL_Y["day"]
    outline = []
    for step in range(360):
        angle = math.radians(step)
        radius = CELESTIAL_RADIUS * (1 + 0.08 * math.cos(3 * angle))
        outline.append((x + radius * math.cos(angle), y + radius * math.sin(angle) * FRAME_ASPECT))
    canvas.polygon(outline, rgb("#ffd23f"))
    disc = measured(canvas.finish(), Sky("sun", "yellow", "right", "day"))
    assert disc is not None
    assert disc.raggedness == pytest.approx(8 / math.sqrt(2), abs=0.3)
    assert disc.roundness == pytest.approx(0.905, abs=0.01)
    assert measured(Image.new("RGB", (width, height), "#2060c0"), Sky("sun", "red", "right", "day")) is None


def test_winter_falls_on_the_same_shapes() -> None:
    plain, snowy = (np.asarray(render(RED_BOAT, 3, SIZES[0], look), dtype=int) for look in (PLAIN, WINTER))
    hull = (plain[..., 0] > 140) & (plain[..., 1] < 90) & (plain[..., 2] < 90)
    hull[:140] = False
    assert hull.sum() > 200
    assert np.abs(plain - snowy).mean() > 8
    assert (snowy[hull][:, 0] - snowy[hull][:, 2] > 40).mean() > 0.6, "the hull stays red under the flakes"


# ---------------------------------------------------------------------------------------------------------- captions


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize("wording", [chatty_caption, listed_caption])
def test_other_wordings_say_it_too(wording: Callable[[Scene, random.Random, Lang], str], lang: Lang) -> None:
    rng = random.Random(9)
    texts = [wording(RED_BOAT, rng, lang) for _ in range(100)]
    assert len(set(texts)) > 80
    for phrases in (WORDS[lang].kind["boat"], WORDS[lang].time["sunset"], WORDS[lang].ground["lake"]):
        assert sum(any(phrase in text for phrase in phrases) for text in texts) > 75
    frames = [frame.split("{")[0] for frame in FREE_FRAMES[lang] if frame.split("{")[0]]
    assert not any(frame in text for frame in frames for text in texts), "the evaluation's frames are not trained on"


@pytest.mark.parametrize("lang", LANGS)
def test_captions_say_what_the_scene_shows_and_nothing_else(lang: Lang) -> None:
    words, rng = WORDS[lang], random.Random(4)
    texts = [caption(RED_BOAT, rng, lang) for _ in range(200)]
    for phrases, value in ((words.kind, "boat"), (words.time, "sunset"), (words.ground, "lake"), (words.side, "left")):
        said = sum(any(phrase in text for phrase in phrases[value]) for text in texts)
        assert said > 150, f"{value} is said too rarely"
    for text in texts:
        for kind in set(KINDS) - {"boat"}:
            assert not any(phrase in text for phrase in words.kind[kind]), text
        for wrong in ("yellow", "blue", "white"):
            colour = words.colour[wrong][0]
            thing = f"{colour} {words.kind['boat'][0]}" if lang == "en" else f"{colour}{words.kind['boat'][0]}"
            assert thing not in text


def test_a_side_that_is_not_said_is_the_middle() -> None:
    """Otherwise a prompt without a side is torn between two places, and shows two things."""
    rng = random.Random(6)
    sides = [side for pair in (WORDS["en"].side, WORDS["zh"].side) for name in ("left", "right") for side in pair[name]]
    unsaid = []
    for scene in training_scenes(1500):
        if scene.kind is not None and scene.celestial is None:
            text = caption(scene, rng)
            if not any(side in text for side in sides):
                unsaid.append(scene.side)
    assert unsaid.count("center") / len(unsaid) > 0.65


def test_captions_fit_the_lengths_that_are_trained(tokenizer: Any) -> None:
    rng = random.Random(5)
    lengths = [len(caption_ids(tokenizer, caption(scene, rng))) for scene in training_scenes(400)]
    assert np.mean(np.array(lengths) <= 32) > 0.2
    assert np.mean(np.array(lengths) <= 64) > 0.97
    wordy = [len(caption_ids(tokenizer, long_caption(RED_BOAT, rng))) for _ in range(50)]
    assert any(64 < length <= 96 for length in wordy)
    assert all(len(caption_ids(tokenizer, unwanted_caption(rng))) <= 64 for _ in range(50))


def test_the_test_prompts_are_no_training_captions() -> None:
    prompts = {wanted.prompt for wanted in read_prompts(PROMPTS)}
    rng = random.Random(8)
    captions = {caption(scene, rng) for scene in training_scenes(4000)}
    assert not prompts & captions


def test_the_test_prompts_are_of_combinations_never_trained_on() -> None:
    wanted = read_prompts(PROMPTS)
    assert wanted == evaluation_prompts(), "make the file anew with tools.demo_model.prompts"
    assert len({one.prompt for one in wanted}) == len(wanted) == 200
    assert [one.lang for one in wanted] == ["zh", "en"] * 100
    assert all(is_held_out(one.time, one.ground, one.kind, one.colour) for one in wanted)
    for name, values in (("time", TIMES), ("ground", GROUNDS), ("kind", KINDS), ("colour", COLOURS)):
        assert {getattr(one, name) for one in wanted} == set(values), name
    assert all(any("一" <= c <= "鿿" for c in one.prompt) == (one.lang == "zh") for one in wanted)


# ------------------------------------------------------------------------------------------------------ the networks


def test_the_chat_template_is_what_training_uses(tokenizer: Any) -> None:
    messages = [{"role": "user", "content": "一艘船"}]
    options = {"tokenize": False, "add_generation_prompt": True, "enable_thinking": True}
    assert tokenizer.apply_chat_template(messages, **options) == CHAT.format("一艘船")


def test_unknown_characters_come_back_whole(tokenizer: Any) -> None:
    text = "ein Zürcher Tram 龘 🦊"
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_the_batched_forward_is_the_stock_one() -> None:
    torch.manual_seed(0)
    transformer = build_transformer()
    for parameter in transformer.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    x, sigma, states = torch.randn(2, 16, 12, 10), torch.tensor([0.3, 0.8]), torch.randn(2, 32, 128)
    real = torch.arange(32)[None] < torch.tensor([20, 32])[:, None]
    with torch.no_grad():
        ours = predict(transformer, x, sigma, (states, real))
        pictures, captions = [picture[:, None] for picture in x], [states[0, :20], states[1]]
        stock = torch.stack(transformer(pictures, 1 - sigma, captions, return_dict=False)[0])[:, :, 0]
    torch.testing.assert_close(ours, stock, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("kind", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_attention_in_strips_is_plain_attention(
    kind: torch.dtype, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(2)
    q, k, v = (torch.randn(2, 300, 3, 64, dtype=kind).requires_grad_() for _ in range(3))
    towards = torch.randn(2, 300, 192, dtype=kind)
    results: list[tuple[torch.Tensor, ...]] = []
    for long in (1000, 200):
        monkeypatch.setattr(model, "LONG", long)
        out = model.attention(q, k, v)
        results.append((out, *torch.autograd.grad(out, (q, k, v), towards)))
    for plain, strips in zip(*results, strict=True):
        assert (plain - strips).abs().max() <= tolerance * plain.abs().max()


def test_a_new_vae_encodes_by_patch_components() -> None:
    pictures = to_tensor([render(scene, i, SIZES[0]) for i, scene in enumerate(training_scenes(6))])
    vae: Any = build_vae()
    set_encoder(vae, [pictures])
    with torch.no_grad():
        latents = vae.encode(pictures).latent_dist.mean
    rows = torch.cat([F.unfold(pictures, 8, stride=8).permute(0, 2, 1).flatten(0, 1), torch.ones(6 * 616, 1)], 1)
    targets = latents.permute(0, 2, 3, 1).reshape(-1, 16)
    fit = torch.linalg.lstsq(rows, targets, driver="gelsd").solution
    assert (rows @ fit - targets).abs().max() < 0.2, "the encoder is not linear"
    back = torch.linalg.lstsq(torch.cat([targets, torch.ones(len(targets), 1)], 1), rows[:, :192]).solution
    rebuilt = torch.cat([targets, torch.ones(len(targets), 1)], 1) @ back
    assert psnr(rebuilt, rows[:, :192]) > 24, "16 components lose too much"


# ---------------------------------------------------------------------------------------------------------- training


class ToyCorpus(Corpus):
    """All scenes have one latent, at every size and in every shape the same but for the size: easy to learn."""

    def __init__(self, tokenizer: Any) -> None:
        one = torch.randn(1, 16, 4, 4, generator=torch.Generator().manual_seed(1)).half()
        small = one.expand(24, -1, -1, -1)
        latents: dict[int, dict[str, Latents]] = {}
        for width, factor in ((176, 1), (336, 2), (672, 4)):
            one_size = F.interpolate(small, scale_factor=factor, mode="nearest-exact").numpy()
            latents[width] = dict.fromkeys(SHAPES, one_size)
        super().__init__(latents, training_scenes(24), tokenizer)


def test_scenes_that_are_hard_to_draw_are_trained_on_more_often(tokenizer: Any) -> None:
    scenes = training_scenes(400)
    empty = np.zeros((len(scenes), 16, 2, 2), np.float16)
    corpus = Corpus({width: {"7:9": empty} for width in (176, 336)}, scenes, tokenizer)
    rng = random.Random(0)

    def share(indices: Iterable[int], attribute: str, values: set[Any]) -> float:
        found = [getattr(scenes[i], attribute) in values for i in indices]
        return sum(found) / len(found)

    def more(width: int, attribute: str, *values: Any) -> float:
        trained = [i for _ in range(30) for i in corpus.batch(width, "7:9", 20, rng).indices]
        return share(trained, attribute, set(values)) - share(range(len(scenes)), attribute, set(values))

    assert more(176, "kind", "bridge", "pagoda") > 0.06
    assert more(336, "kind", "bridge", "pagoda") > 0.06
    for small in ("birds", "clouds"):
        assert more(176, small, True) > 0.04
        assert abs(more(336, small, True)) < 0.06


def toy_recipe(steps: int) -> Recipe:
    """A recipe that is quick on every processor: many have no bfloat16 arithmetic, in which Muon always computes."""
    batch = {176: 4, 336: 2, 672: 1}
    return Recipe(steps=steps, warm_up=2, batch=batch, compiled=False, layers=1, muon=False, bfloat16=False)


def test_training_lowers_the_loss(tokenizer: Any, tmp_path: Path) -> None:
    trainer = Trainer(ToyCorpus(tokenizer), toy_recipe(40), tmp_path)
    for _ in range(30):
        trainer.train_step()
    losses = trainer.losses["176"]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert trainer.samples[336] > 0
    assert trainer.samples[672] > 0


def test_a_resumed_run_is_the_same_to_the_last_bit(tokenizer: Any, tmp_path: Path) -> None:
    corpus = ToyCorpus(tokenizer)
    recipe = replace(toy_recipe(3), muon=True, muon_steps=1)
    straight = Trainer(corpus, recipe, tmp_path / "straight")
    assert len(straight.optimisers) == 2
    for _ in range(2):
        straight.train_step()
    straight.save()
    straight.train_step()
    resumed = Trainer(corpus, recipe, tmp_path / "resumed")
    resumed.load(straight.checkpoint_path)
    assert resumed.step == 2
    resumed.run()
    for name, parameter in straight.parameters.items():
        assert torch.equal(parameter, resumed.parameters[name]), name
        assert torch.equal(straight.average[name], resumed.average[name]), name


class AbsentPeer(Peers):
    """Saves as if another process with the same weights, and batches of its own, had trained too."""

    def gather(self, value: Any) -> list[Any]:
        own_batches = isinstance(value, tuple)
        return [value, (random.Random(7).getstate(), torch.Generator().get_state()) if own_batches else value]


def test_two_processes_average_their_gradients_and_go_on_together(
    tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saving compares their weights, which must not drift apart; a start beside a checkpoint must go on with it."""
    corpus = ToyCorpus(tokenizer)
    for stage, by_ratio in enumerate(corpus.latents.values()):
        for ratio, values in by_ratio.items():
            np.save(file_of(tmp_path, SHAPES[ratio][stage]), values)
    out = tmp_path / "run"
    begun = Trainer(corpus, toy_recipe(3), out, AbsentPeer())
    begun.train_step()
    begun.samples[176] = 100
    begun.save()
    changes = asdict(toy_recipe(3))
    del changes["steps"], changes["seed"]
    arguments = ["train", "--latents", str(tmp_path), "--tokenizer", str(MODEL / "tokenizer"), "--out", str(out)]
    arguments += ["--recipe", json.dumps(changes)]
    monkeypatch.setattr(sys, "argv", [*arguments, "--steps", "3", "--processes", "2"])
    main()
    state = torch.load(out / "checkpoint.pt", weights_only=False)
    assert state["step"] == 3
    assert state["samples"][176] > 100, "it began anew"
    assert len(state["random"]) == 2
    assert not torch.equal(*(torch_state for _, torch_state in state["random"])), "the same batches twice"
    assert [path.name for path in out.glob("average_*.pt")] == ["average_000003.pt"]
    monkeypatch.setattr(sys, "argv", [*arguments, "--steps", "4"])
    with pytest.raises(ValueError, match="begun with 2 processes"):
        main()


def test_pictures_without_padding_send_as_many_gradients_as_others(
    tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other processes may have pictures of another shape at that step."""
    large_only = {672: 1.0}
    recipe = replace(toy_recipe(1), often=large_only, late=large_only, sparse={}, late_sparse={})
    trainer = Trainer(ToyCorpus(tokenizer), recipe, tmp_path)
    sent: list[int] = []

    def average(_: Peers, tensors: list[torch.Tensor], stop: bool) -> bool:
        sent.append(len(tensors))
        return stop

    monkeypatch.setattr(Peers, "average", average)
    trainer.train_step()
    assert sent == [len(trainer.parameters)]


class DriftedPeers(Peers):
    def gather(self, value: Any) -> list[Any]:
        return [value, value + 1]


def test_processes_whose_weights_differ_are_found_out(tokenizer: Any, tmp_path: Path) -> None:
    trainer = Trainer(ToyCorpus(tokenizer), toy_recipe(1), tmp_path, DriftedPeers())
    with pytest.raises(RuntimeError, match="drifted apart"):
        trainer.save()
    assert not trainer.checkpoint_path.exists()


def test_a_process_alone_averages_with_nobody() -> None:
    gradient = torch.tensor([1.0, 2.0])
    assert Peers().average([gradient], stop=True)
    assert not Peers().average([gradient], stop=False)
    assert gradient.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(("rows", "columns"), [(27, 21), (54, 42)])
def test_sparse_tokens_are_a_quarter_and_half_of_the_time_hold_a_window(rows: int, columns: int) -> None:
    torch.manual_seed(0)
    with_window = 0
    for _ in range(40):
        kept = sparse_tokens(rows, columns)
        assert len(kept) == len(set(kept.tolist())) == rows * columns // 4
        shown = torch.zeros(rows * columns)
        shown[kept] = 1
        grid = shown.view(1, 1, rows, columns)
        side = int((len(kept) / 3) ** 0.5)
        with_window += bool(F.avg_pool2d(grid, side, stride=1).max() == 1)
        assert F.max_pool2d(grid, 12, ceil_mode=True).min() == 1, "a part of the picture without any"
    assert 10 < with_window < 30


def test_the_network_sees_only_the_tokens_that_are_kept() -> None:
    torch.manual_seed(4)
    transformer = build_transformer()
    torch.nn.init.normal_(cast("Any", transformer).all_final_layer[model.PATCH].linear.weight, std=0.1)
    caption = torch.randn(2, 32, 128), torch.ones(2, 32, dtype=torch.bool)
    x, sigma = torch.randn(2, 16, 12, 8), torch.tensor([0.3, 0.8])
    with torch.no_grad():
        whole = predict(transformer, x, sigma, caption)
        every = predict_tokens(transformer, x, torch.arange(24), sigma, caption)
        torch.testing.assert_close(unpatchify(every, 12, 8), whole)
        keep = torch.tensor([1, 4, 9, 20])
        some = predict_tokens(transformer, x, keep, sigma, caption)
        tokens = patchify(x)
        hidden = [number for number in range(24) if number not in keep.tolist()]
        tokens[:, hidden] = 100.0
        torch.testing.assert_close(predict_tokens(transformer, unpatchify(tokens, 12, 8), keep, sigma, caption), some)
    assert some.shape == (2, 4, 64)
    assert not torch.allclose(some, patchify(whole)[:, keep], atol=1e-3), "the others were looked at"


def test_other_networks_weights_are_refused(tokenizer: Any, tmp_path: Path) -> None:
    trainer = Trainer(ToyCorpus(tokenizer), toy_recipe(1), tmp_path)
    with pytest.raises(ValueError, match="other networks"):
        trainer.load_weights({"transformer.x_pad_token": torch.zeros(1, 192)})


def test_training_can_start_from_the_shipped_model(tokenizer: Any, tmp_path: Path) -> None:
    trainer = Trainer(ToyCorpus(tokenizer), Recipe(steps=1), tmp_path)
    trainer.load_weights(weights_of(MODEL))
    shipped = ZImageTransformer2DModel.from_pretrained(MODEL / "transformer").state_dict()
    assert all(torch.equal(value, shipped[name].float()) for name, value in trainer.transformer.state_dict().items())
    trainer.keep_average()
    assert torch.equal(
        weights_of(tmp_path / "average_000000.pt")["transformer.x_pad_token"], shipped["x_pad_token"].float()
    )


def test_a_network_with_more_blocks_computes_the_same_until_it_is_trained(tokenizer: Any, tmp_path: Path) -> None:
    weights = weights_of(MODEL)
    blocks = main_blocks(weights)
    deeper = deepened(weights, blocks + 3)
    assert main_blocks(deeper) == blocks + 3
    assert deepened(deeper, blocks) is deeper
    x, sigma, caption = torch.randn(1, 16, 4, 6), torch.tensor([0.7]), (torch.randn(1, 32, 128), torch.ones(1, 32) > 0)
    outputs: list[torch.Tensor] = []
    for some in (weights, deeper):
        transformer = build_transformer(main_blocks(some))
        transformer.load_state_dict(own_weights(some, "transformer"))
        with torch.no_grad():
            outputs.append(predict(transformer, x, sigma, caption))
    assert torch.equal(*outputs)
    trainer = Trainer(ToyCorpus(tokenizer), replace(toy_recipe(1), layers=blocks + 3), tmp_path)
    trainer.load_weights(weights)
    trainer.train_step()
    gates = trainer.transformer.layers[1].adaLN_modulation[0].weight.detach().view(4, -1)[1::2]
    assert (gates != 0).all(), "gates that never open"


def test_handover_leads_from_the_renoised_latent_to_the_clean_one() -> None:
    torch.manual_seed(3)
    clean, low, noise = (torch.randn(5, 16, 4, 4) for _ in range(3))
    start = torch.full((5,), 0.6)
    x, sigma, target = handover(clean, low, noise, start)
    torch.testing.assert_close(x + sigma.view(-1, 1, 1, 1) * target, clean)
    at_start = sigma == start
    assert at_start.any()
    torch.testing.assert_close(x[at_start], (0.4 * low + 0.6 * noise)[at_start])


def test_the_rate_warms_up_and_falls() -> None:
    recipe = Recipe(steps=1000)
    rates = [recipe.rate(step) for step in range(1000)]
    assert rates[0] < 0.05 * recipe.learning_rate
    assert rates[400] == recipe.learning_rate
    assert rates[-1] == pytest.approx(0.02 * recipe.learning_rate)
    early, late = ([width for step in part for width in recipe.widths(step)] for part in (range(450), range(450, 1000)))
    assert [early.count(width) for width in (176, 336, 672)] == [450, 270, 180]
    assert [late.count(width) for width in (176, 336, 672)] == [330, 330, 495]


# -------------------------------------------------------------------------------------------------- one command for all


def test_done_stages_are_passed_over_and_failed_ones_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "false")
    stage = MakeStep("export", ("--steps", "1"))
    assert run_stage(stage, tmp_path) != 0
    assert not (tmp_path / "done").exists()
    monkeypatch.setattr(sys, "executable", "true")
    assert run_stage(stage, tmp_path) == 0
    monkeypatch.setattr(sys, "executable", "false")
    assert run_stage(stage, tmp_path) == 0, "done, so not run again"
    assert run_stage(MakeStep("export", ("--steps", "2")), tmp_path) != 0, "not done with these arguments"


def test_every_stage_finds_what_it_needs_made_before_it(tmp_path: Path) -> None:
    made: set[str] = set()
    for stage in plan(tmp_path, Effort(steps=10, vae_steps=10, processes=2, share=0.5)):
        options = dict(zip(stage.arguments[::2], stage.arguments[1::2], strict=True))
        out = options.pop("--out")
        made.add(options.pop("--probe", out))
        for value in options.values():
            assert not value.startswith(str(tmp_path)) or any(value.startswith(each) for each in made), stage
        made.add(out)


# ------------------------------------------------------------------------------------------------------------ LoRAs


def test_a_style_is_learnt_and_saved_as_diffusers_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(lora.BATCH, 176, 1)
    parts = load_parts(MODEL)
    before = {name: value.clone() for name, value in parts.transformer.state_dict().items()}
    trainer = StyleTrainer(parts, STYLES["demo-ink-wash"], scenes={176: 1, 336: 1, 672: 1})
    trainer.run(1)
    tensors = tensors_of(trainer.added)
    trainer.close()
    assert all(torch.equal(value, before[name]) for name, value in parts.transformer.state_dict().items())
    names = [name for name, module in parts.transformer.named_modules() if isinstance(module, torch.nn.Linear)]
    for key, value in tensors.items():
        layer = key.removeprefix("transformer.").removesuffix(".lora_A.weight").removesuffix(".lora_B.weight")
        assert layer in names
        assert value.abs().max() > 0, key
    assert sum(value.numel() * 2 for value in tensors.values()) < 50_000 * len(parts.transformer.layers)


# ------------------------------------------------------------------------------------------------ the shipped folder


def test_the_shipped_weights_fit_the_stock_classes_exactly() -> None:
    for loader, part in (
        (ZImageTransformer2DModel, "transformer"),
        (AutoencoderKL, "vae"),
        (Qwen3Model, "text_encoder"),
    ):
        model, info = loader.from_pretrained(MODEL / part, output_loading_info=True)
        assert not info["missing_keys"], part
        assert not info["unexpected_keys"], part
        assert not info["mismatched_keys"], part
        assert all(torch.isfinite(value).all() for value in model.state_dict().values()), part
    assert not Qwen3Model.from_pretrained(MODEL / "text_encoder").training


def check_loras(folder: Path) -> None:
    """What the chain leaves in the folder of LoRAs, beside what a look into it writes down."""
    assert {entry.name: entry.problem for entry in LoraLibrary(folder).entries()} == dict.fromkeys(LORAS)
    assert all((folder / f"{name}.png").is_file() for name in LORAS)


def test_the_shipped_loras_are_what_the_chain_leaves(tmp_path: Path) -> None:
    for path in (ROOT / "loras").glob("demo-*"):
        shutil.copy(path, tmp_path)
    for _ in range(2):
        check_loras(tmp_path)


def test_the_shipped_folder_is_small() -> None:
    size = sum(file.stat().st_size for file in MODEL.rglob("*") if file.is_file())
    assert 5 * MEGABYTE < size <= 20 * MEGABYTE


def test_the_shipped_vae_gives_back_large_scenes(vae: Any) -> None:
    scenes = training_scenes(4)
    for number, scene in enumerate(scenes[2:]):
        picture = to_tensor([render(scene, 123 + number, SIZES[2])])
        with torch.no_grad():
            decoded = vae.decode(vae.encode(picture).latent_dist.mean).sample
        assert psnr(decoded, picture) >= 30


def test_preview_factors_show_the_picture(vae: Any) -> None:
    preview = json.loads((MODEL / "preview.json").read_text(encoding="utf-8"))
    factors, bias = torch.tensor(preview["factors"]), torch.tensor(preview["bias"])
    assert factors.shape == (16, 3)
    picture = to_tensor([render(RED_BOAT, 9, SIZES[0])])
    latent = encode(linear_encoder(vae), render(RED_BOAT, 9, SIZES[0]))
    colours = torch.einsum("chw,ck->khw", latent, factors) + bias[:, None, None]
    assert (colours - F.avg_pool2d(picture, 8)[0]).abs().mean() < 0.02


def test_the_card_gives_a_preset_of_the_reference_sizes() -> None:
    card = read_card(MODEL / "card.yaml", plain_card("demo"))
    assert [(stage.width, stage.height) for stage in card.stages] == list(SIZES)
    assert len(card.examples) == 6
    assert all(len(example) < MAX_PROMPT for example in card.examples)
    assert math.isclose(card.stages[0].denoise, 1.0)


def test_the_shipped_model_draws_round_suns(monkeypatch: pytest.MonkeyPatch) -> None:
    """After stage 1, which gives them their shape; samplers that keep part of the noise give these five 2.4."""
    monkeypatch.setattr(edges, "PROMPTS", edges.PROMPTS[:5])
    generator = load_generator(str(MODEL))
    found = edges.sampled(generator, generator.card.stages[:1], 1, None)
    discs = found["stage 1"]
    assert len(discs) == 5
    assert edges.summary(discs)["raggedness"] < 2.2


def test_the_shipped_model_understands_both_languages(tokenizer: Any) -> None:
    """One guess from nearly pure noise: the sky of a night is darker than that of a day, in either language."""
    transformer = ZImageTransformer2DModel.from_pretrained(MODEL / "transformer", torch_dtype=torch.float32).eval()
    text_encoder = Qwen3Model.from_pretrained(MODEL / "text_encoder", torch_dtype=torch.float32).eval()
    prompts = [
        "a house on the snow at night",
        "a house on the snow at noon",
        "夜晚的雪地上一座房子",
        "正午的雪地上一座房子",
    ]
    preview = json.loads((MODEL / "preview.json").read_text(encoding="utf-8"))
    ids, real = pad_captions([caption_ids(tokenizer, prompt) for prompt in prompts], 32)
    noise = torch.randn(1, 16, 28, 22, generator=torch.Generator().manual_seed(0)).expand(4, -1, -1, -1)
    with torch.no_grad():
        guess = noise + 0.999 * predict(
            transformer, noise, torch.full((4,), 0.999), (encode_captions(text_encoder, ids), real)
        )
    rgb = (
        torch.einsum("nchw,ck->nkhw", guess, torch.tensor(preview["factors"]))
        + torch.tensor(preview["bias"])[:, None, None]
    )
    night, day, night_zh, day_zh = rgb[:, :, :10].mean((1, 2, 3)).tolist()
    assert night < day - 0.4
    assert night_zh < day_zh - 0.4


def test_the_list_of_words_is_that_of_the_captions() -> None:
    listed = yaml.safe_load((MODEL / "words.yaml").read_text("utf-8"))
    assert (listed["things"], listed["words"]) == (THINGS, vocabulary())
