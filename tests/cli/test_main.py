"""The command line: what it prints, where it saves, how it refuses."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from rich.progress import Progress

from tests.service.records import a_picture, a_record
from zimage_app import __main__ as program
from zimage_app import load_generator
from zimage_app.cli.main import build_parser, main
from zimage_app.cli.progress import watch
from zimage_app.cli.request_flags import build_request
from zimage_app.cli.terminal import language
from zimage_app.domain.card import Z_IMAGE_TURBO
from zimage_app.domain.events import Event, Finished, StageStarted, Warned
from zimage_app.domain.plan import make_plan
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.stage import Stage
from zimage_app.domain.text import Text
from zimage_app.models.find.catalogue import find_model
from zimage_app.models.load.memory_plan import plan_memory
from zimage_app.service.pictures.gallery import read_record
from zimage_app.service.setup.config import StudioConfig

ROOT = Path(__file__).parents[2]
QUICK = ["--set", "stages.0.steps=2", "--set", "stages.0.width=64", "--set", "stages.0.height=64", "--single-stage"]


@pytest.fixture
def tiny(models_dir: Path) -> str:
    return str(models_dir / "tiny")


def request_of(*arguments: str) -> GenerationRequest:
    return build_request(build_parser().parse_args(["generate", *arguments]), Z_IMAGE_TURBO)


def test_flags_become_one_request() -> None:
    settings = ("1.denoise=0.6", "2.easycache=null", "0.sampler=euler", "0.easycache.threshold=0.3")
    request = request_of(
        "一艘红色小船",
        *("--seed", "42", "--negative", "云", "--trigger", "水墨"),
        *(part for setting in settings for part in ("--set", f"stages.{setting}")),
    )
    assert (request.prompt, request.seed, request.negative, request.triggers) == ("一艘红色小船", 42, "云", ("水墨",))
    assert request.stages is not None
    assert request.stages[1].denoise == 0.6
    assert request.stages[2].easycache is None
    assert request.stages[0].sampler == "euler"
    assert request.stages[0].easycache is not None
    assert request.stages[0].easycache.threshold == 0.3
    assert request_of("x", "--seed", "-1").seed == "random"
    assert request_of("x").stages == Z_IMAGE_TURBO.stages
    assert request_of("x", "--single-stage").stages == Z_IMAGE_TURBO.single_stage


def test_a_picture_is_made_saved_and_named(
    tiny: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], models_dir: Path
) -> None:
    assert main(["generate", "a red boat", "--model", tiny, "--seed", "7", "--out", str(tmp_path), *QUICK]) == 0
    path = Path(capfd.readouterr().out.strip())
    record = read_record(path)
    assert record.request.prompt == "a red boat"
    with Image.open(path) as image:
        pixels = np.asarray(image)
    assert pixels.shape == (64, 64, 3)
    generator = load_generator("tiny", StudioConfig(models=models_dir))
    np.testing.assert_array_equal(pixels, np.asarray(generator.generate(record.request).image))


def test_where_it_computes_is_said(tiny: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "x", "--model", tiny, "--out", str(tmp_path), *QUICK]) == 0
    plan = plan_memory(find_model("tiny", Path(tiny).parent))
    assert capfd.readouterr().err.splitlines() == [plan.reason.to(language())]


def test_json_is_one_object(tiny: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "x", "--model", tiny, "--json", "--out", str(tmp_path), *QUICK]) == 0
    data = json.loads(capfd.readouterr().out)
    assert Path(data["path"]).is_file()
    assert data["request"]["prompt"] == "x"
    assert isinstance(data["request"]["seed"], int)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["x", "--seed", "many"], "seed:"),
        (["x", "--set", "stages.7.steps=3"], "there is no entry 7"),
        (["x", "--set", "stages.0.steps"], "NAME=VALUE"),
        (["x", "--set", "stages.0.stride=3"], "no such setting"),
        (["x", "--set", "colour.depth=3"], "no such setting"),
        (["x", "--set", "stages.0.sampler=euler_a"], "did you mean euler or euler_ancestral?"),
        (["x", "--set", "stages.0.width=100"], "multiple of 16"),
        (["x", "--set", "stages.0.steps=0"], "at least 1"),
        (["x", "--set", "stages.0.cfg=NaN"], "finite"),
        (["x", "--set", "stages=[]"], "at least 1 entry"),
        (["x" * 100_000], "at most 8000"),
        ([""], "must not be empty"),
        (["x", "--model", "sdxl"], "no model 'sdxl'"),
        (["x", "--seed", "9" * 5000], "seed:"),
        (["x", "--seed", "9" * 25], "at most 18446744073709551615"),
        (["x", "--set", f"stages.{'9' * 5000}.steps=3"], "there is no entry"),
        (["x", "--set", "prompt=" + "[" * 100_000], "at most 8000"),
        (["\udcff"], "prompt: contains an incomplete Unicode character"),
        (["x", "--trigger", "\ud83d"], "triggers.0: contains an incomplete Unicode character"),
        (["x", "--set", "loras.0.name=ink"], "loras.0: the list is empty"),
        (["x", "--set", 'triggers=["a"]', "--set", "triggers.0.b=1"], "triggers.0: there is no such setting"),
        (["x", "--set", 'loras=[{"name": "no-such-lora"}]', "--model", "demo"], "no such LoRA"),
        (["x", "--steps", "3"], "unrecognized arguments"),
        ([], "PROMPT: is missing"),
    ],
)
def test_bad_input_is_status_2_and_one_sentence(
    arguments: list[str], words: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    try:
        status = main(["generate", *arguments])
    except SystemExit as stop:
        status = int(stop.code or 0)
    printed = capfd.readouterr()
    assert status == 2
    assert words in printed.err
    assert len(printed.err.splitlines()) == 1
    assert printed.out == ""


def test_a_chinese_system_is_answered_in_chinese(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    assert main(["generate", "x", "--set", "stages.0.steps=0"]) == 2
    assert "不能小于 1" in capfd.readouterr().err


def test_a_refusal_needs_no_torch() -> None:
    code = (
        "import sys; from zimage_app.cli.main import main; status = main(['generate', '']);"
        " sys.exit(0 if status == 2 and 'diffusers' not in sys.modules else 1)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)


def test_a_model_with_a_cut_off_file_is_one_sentence(
    models_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(models_dir / "tiny", broken)
    weights = next((broken / "transformer").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-100])
    assert main(["generate", "x", "--model", str(broken)]) == 1
    error = capfd.readouterr().err
    assert weights.name in error
    assert len(error.splitlines()) == 1


def test_a_picture_that_cannot_be_saved_is_kept_elsewhere_and_its_seed_told(
    tiny: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    blocked = tmp_path / "outputs"
    blocked.write_text("a file where a folder should be", encoding="utf-8")
    command = ["generate", "a red boat", "--model", tiny, "--out", str(blocked), "--alone", *QUICK]
    assert main(command) == 1
    said = capfd.readouterr().err.splitlines()[-1]
    (path,) = tmp_path.glob("zimage-*/*/*.png")
    assert said.endswith(f"the seed {read_record(path).request.seed} make it again. Until then it lies at {path}.")
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(blocked))
        assert main([*command, "--seed", "7"]) == 1
    assert "the seed 7 make it again." in capfd.readouterr().err


def run(command: str, stdout: int | None = None) -> tuple[int, str]:
    """Run a command of the shell with ``$0`` for the program; returns its status and what it printed to stderr."""
    arguments = ["sh", "-c", command.replace("$0", f"{sys.executable} -m zimage_app")]
    english = os.environ | {"LC_ALL": "C"}
    done = subprocess.run(arguments, cwd=ROOT, env=english, stdout=stdout, stderr=subprocess.PIPE, text=True)
    return done.returncode, done.stderr


@pytest.mark.skipif(os.name == "nt", reason="needs a shell of POSIX")
def test_an_output_that_nobody_reads_ends_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert run("exec $0 negatives", stdout=writer) == (141, "")
        assert run("exec $0 negatives --help", stdout=writer) == (0, "")
    finally:
        os.close(writer)
    assert run("exec $0 presets >&-") == (0, "")
    assert run("exec $0 generate '' 2>&-") == (2, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_an_output_that_is_full_is_a_sentence() -> None:
    status, said = run("exec $0 presets >/dev/full")
    assert (status, said) == (1, "The output can't be written (No space left on device); send it elsewhere.\n")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["plan", "x", "--memory", "lots"], "--memory：'lots' 必须是 1 到 1024 的 GB 数"),
        (["plan", "x", "--memory"], "--memory：需要一个值"),
        (["history", "--count", "0"], "--count：0 不是 1 到 10000 的整数"),
        (["generate", "x", "--steps", "3"], "没有这样的选项：--steps 3"),
        (["generate", "x", "--count", "many"], "--count：'many' 不是整数"),
        (["grids"], "COMMAND：没有 'grids'，可选 "),
        ([], "缺少 COMMAND"),
    ],
)
def test_wrong_flags_are_told_in_the_terminals_language(
    arguments: list[str], sentence: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    printed = capfd.readouterr().err
    assert printed.startswith(sentence)
    assert printed.count("\n") == 1
    assert "；用法见 " in printed


def test_stages_are_counted_as_on_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """With those that are switched off."""
    shown: list[str] = []
    monkeypatch.setattr(Progress, "update", lambda *_, description="", **__: shown.append(description))
    stages = tuple(Stage(enabled=number != 1) for number in range(3))
    plan = make_plan(GenerationRequest(prompt="x", seed=1, stages=stages), Z_IMAGE_TURBO)
    events: list[Event] = [*map(StageStarted, plan.stages), Finished(a_picture(), a_record())]
    watch(iter(events), plan, "en")
    assert [words.split()[1] for words in shown] == ["1/3", "3/3"]


def test_a_warning_is_one_line_however_long(capfd: pytest.CaptureFixture[str]) -> None:
    finished = Finished(a_picture(), a_record())
    sentence = "ink.safetensors: [key] " + "a key without effect, " * 20 + "and no more."
    plan = make_plan(finished.record.request, Z_IMAGE_TURBO)
    assert watch(iter([Warned((Text(sentence, sentence),)), finished]), plan, "en") is finished
    assert capfd.readouterr().err == f"{sentence}\n"


class _Interrupted(ModuleType):
    """A module whose import Ctrl+C interrupts."""

    def __getattr__(self, name: str) -> object:
        raise AttributeError(name) if name.startswith("_") else KeyboardInterrupt


@pytest.mark.parametrize(
    ("module", "start"),
    [("zimage_app.cli.main", program.run), ("zimage_app.serve", lambda: program.run_page([]))],
)
def test_ctrl_c_while_the_program_still_imports_is_one_word(
    module: str, start: Callable[[], int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setitem(sys.modules, module, _Interrupted(module))
    try:
        assert start() == 130
    finally:
        gc.enable()
    assert capsys.readouterr().err == "Stopped.\n"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("history --search boat show x", "--search has no effect before show"),
        ("models --json check demo", "--json has no effect before check"),
        ("presets --json diff a b", "--json has no effect before diff"),  # it would be reset to diff's own default
        ("jobs --json pause", "--json has no effect before pause"),
    ],
)
def test_a_flag_that_has_no_effect_where_it_stands_is_refused(
    command: str, words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    with pytest.raises(SystemExit) as stopped:
        main(command.split())
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith(words)


def test_the_folders_may_stand_before_an_action(tmp_path: Path) -> None:
    assert main(["models", "--models-dir", str(tmp_path), "check", "demo"]) == 0
    assert build_parser().parse_args(["history", "--outputs", "here", "empty"]).outputs == Path("here")
