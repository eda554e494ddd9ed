"""Snapshots and records as what the canvas draws."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from tests.ui.doubles import THREE
from zimage_app.domain.errors import GenerationError, wrong_field
from zimage_app.domain.plan import make_plan
from zimage_app.domain.record import ImageRecord, RunEnvironment, StageRecord
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.guidance import Nag
from zimage_app.domain.settings.lora_use import LoraUse
from zimage_app.domain.settings.start_picture import StartPicture, Upscaler
from zimage_app.domain.text import Text
from zimage_app.service.jobs.state import JobState
from zimage_app.service.jobs.view import JobView, StageView
from zimage_app.service.pictures.views import SavedPicture
from zimage_app.ui.canvas.canvas import facts_data, idle_data, job_data, picture_data

SEED = 2**64 - 1
REQUEST = make_plan(
    GenerationRequest(
        prompt="夕阳 <b>", negative="模糊", triggers=("水墨",), seed=SEED, loras=(LoraUse(name="ink", strength=0.8),)
    ),
    THREE,
).request
RECORD = ImageRecord(
    id="20260102-030405-00000001",
    created=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    model="three",
    request=REQUEST,
    width=672,
    height=864,
    seconds=6.5,
    stages=tuple(
        StageRecord(number=number, seed=1, seconds=1.25 * number, calls=9, skipped_calls=number) for number in range(3)
    ),
    surroundings=RunEnvironment(app="1", torch="2", device="cpu", dtype="float32", threads=1),
)


def _rows(record: ImageRecord) -> dict[str, str]:
    return {row["title"]: row["text"] for row in facts_data(record, "zh")["rows"]}


def test_facts_tell_what_was_used() -> None:
    rows = _rows(RECORD)
    assert rows["提示词"] == "夕阳 <b>"
    assert rows["种子"] == facts_data(RECORD, "en")["seed"] == "18446744073709551615"
    assert rows["尺寸"] == "176×224 → 336×432 → 672×864"
    assert rows["步数"] == "9 / 16 / 16"
    assert rows["采样器"] == "euler_ancestral / euler_ancestral / dpmpp_sde"
    assert rows["LoRA"] == "ink 0.8"
    assert rows["EasyCache 加速"] == "跳过 0 + 1 + 2"
    assert rows["用时"] == "6.5 秒（0.0 + 1.2 + 2.5）"
    assert rows["触发词"] == "水墨"


def test_facts_tell_of_variations_and_guidance() -> None:
    first, second, third = REQUEST.stages or ()
    stages = (first.model_copy(update={"nag": Nag()}), second, third.model_copy(update={"nag": Nag(scale=7)}))
    changed = {"variation_strength": 0.2, "variation_seed": 7, "stages": stages}
    rows = _rows(RECORD.model_copy(update={"request": REQUEST.model_copy(update=changed)}))
    assert rows["变化强度"] == "0.2 → 7"
    assert rows["NAG 反向引导"] == "5/3.5/0.5 · — · 7/3.5/0.5"
    assert not {"变化强度", "NAG 反向引导"} & set(_rows(RECORD))


def test_facts_are_those_of_the_stages_that_ran() -> None:
    rows = _rows(RECORD.model_copy(update={"stages": RECORD.stages[2:]}))
    assert (rows["尺寸"], rows["步数"], rows["用时"]) == ("672×864", "16", "6.5 秒")


def test_a_job_speaks_the_readers_language() -> None:
    view = JobView(
        id="j",
        owner="",
        model="three",
        state=JobState.FAILED,
        stages=(StageView(1, 336, 432, 16, step=3, preview=b"\xff\xd8"), StageView(2, 672, 864, 16)),
        error=GenerationError(Text("broke", "出错")),
        warnings=(Text("careful", "注意"),),
    )
    data = job_data(view, "zh")
    assert (data["error"], data["warnings"]) == ("出错", ["注意"])
    assert [tile["name"] for tile in data["stages"]] == ["构图", "成片"]
    assert data["stages"][0]["preview"] == "data:image/jpeg;base64,/9g="
    assert data["stages"][1]["preview"] == ""
    assert job_data(view, "en")["error"] == "broke"
    assert job_data(replace(view, error=wrong_field("prompt", "odd", "奇怪")), "zh")["error"] == "提示词：奇怪"


def test_an_idle_canvas_offers_the_examples_in_the_readers_language() -> None:
    data = idle_data("zh-Hant")
    assert (data["state"], data["stages"], len(data["examples"])) == ("idle", [], 6)
    assert data["examples"][0] == {"name": "boat", "prompt": "夕陽下平靜的湖面上一艘紅色小船，遠處雪山"}


def test_a_picture_tells_which_of_its_stages_were_kept() -> None:
    data = picture_data(SavedPicture(Path("x.png"), RECORD), [1], "zh")
    assert [(each["number"], each["name"], each["kept"]) for each in data["stages"]] == [
        (1, "构图", True),
        (2, "细化", False),
        (3, "成片", False),
    ]
    assert data["parameters"] == RECORD.parameters_text


def test_what_of_a_start_picture_was_kept_and_how_is_told() -> None:
    start = StartPicture(picture="a" * 64, stage=3, mask="b" * 64, extend=(0, 0, 64, 0))
    for paste, words in ((True, "保留部分已贴回原像素"), (False, "保留部分为 VAE 解码结果")):
        request = REQUEST.model_copy(update={"start": start.model_copy(update={"paste": paste})})
        text = _rows(RECORD.model_copy(update={"request": request}))["起始图片"]
        assert text == f"aaaaaaaaaa @3\n蒙版: bbbbbbbbbb\n扩展画布: 0/0/64/0\n{words}"
    enlarged = StartPicture(picture="a" * 64, upscaler=Upscaler(name="4x.pth", sha256="c" * 64))
    request = REQUEST.model_copy(update={"start": enlarged})
    assert (
        _rows(RECORD.model_copy(update={"request": request}))["起始图片"]
        == "aaaaaaaaaa @1\n放大模型: 4x.pth (cccccccccc)"
    )
    whole = REQUEST.model_copy(update={"start": StartPicture(picture="a" * 64, stage=2)})
    assert _rows(RECORD.model_copy(update={"request": whole}))["起始图片"] == "aaaaaaaaaa @2\n缩放：Lanczos"
