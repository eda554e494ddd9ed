"""The page's own texts in Chinese and English. Independent of Gradio components.

Texts of settings are in ``domain/settings/`` and ``domain/request.py``, those of a model in its card; ``catalogue``
combines them all.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import gradio as gr
from pydantic import BaseModel

from zimage_app.domain.card import ModelCard
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.knob import knob_of
from zimage_app.domain.settings.stage import STAGE_GROUPS, Stage
from zimage_app.domain.text import Language, Text
from zimage_app.ui.words.canvas import CANVAS_WORDS
from zimage_app.ui.words.drop import DROP_WORDS
from zimage_app.ui.words.history import HISTORY_WORDS
from zimage_app.ui.words.loras import LORA_WORDS
from zimage_app.ui.words.many import MANY_WORDS
from zimage_app.ui.words.mask import MASK_WORDS
from zimage_app.ui.words.negatives import NEGATIVE_WORDS
from zimage_app.ui.words.presets import PRESET_WORDS
from zimage_app.ui.words.prompt import PROMPT_WORDS
from zimage_app.ui.words.queue import QUEUE_WORDS
from zimage_app.ui.words.stages import STAGE_WORDS
from zimage_app.ui.words.start import START_WORDS
from zimage_app.ui.words.topbar import MONITOR_WORDS
from zimage_app.web.language import LOCALES

WORDS: dict[str, Text] = {
    "subtitle": Text("three progressive stages", "三阶段渐进生成"),
    "language": Text("Language", "语言"),
    "switch_theme": Text("Light or dark", "浅色 / 深色"),
    "prompt_hint": Text(
        "Describe the picture, e.g. a red boat on a calm lake at sunset, snowy mountains",
        "描述你想看到的画面，例如：夕阳下平静的湖面上一艘红色小船，远处雪山",
    ),
    "examples": Text("Example prompts", "示例提示词"),
    "triggers_hint": Text("Separate with commas", "用逗号分隔"),
    "model": Text("Model", "模型"),
    "models": Text("Models: fetch, unload", "模型管理：下载、卸载"),
    "models_loaded": Text("In memory: {title}", "内存中：{title}"),
    "models_fetching": Text("Fetching {title}: {percent} %", "正在下载 {title}：{percent}%"),
    "models_offer": Text(
        "This is the demo model. Fetch {title} ({size}) for real pictures", "当前为演示模型。可下载 {title}（{size}）"
    ),
    "model_ready": Text("ready", "就绪"),
    "model_in_memory": Text("in memory: {where}", "已加载：{where}"),
    "model_absent": Text("not here yet, {size}", "未下载，{size}"),
    "model_suits": Text("{state}; suits this machine", "{state}，适合本机"),
    "model_incomplete": Text("to be fetched: {parts}", "待下载：{parts}"),
    "model_broken": Text("cannot be used", "无法使用"),
    "fetch": Text("Fetch…", "下载…"),
    "fetch_start": Text("Start", "开始下载"),
    "fetch_not_now": Text("Not now", "暂不"),
    "fetch_stop": Text("Stop; go on later", "暂停，之后可继续"),
    "fetch_asking": Text("Asking what there is to fetch…", "正在查询需要下载的文件…"),
    "fetch_fetching": Text("Starting…", "即将开始…"),
    "fetch_done": Text("Here, and checked: choose it above.", "已下载并校验，可在上方选择。"),
    "fetch_cancelled": Text("Stopped. What has come is kept.", "已暂停，已下载的部分会保留。"),
    "fetch_source": Text("Where from", "下载来源"),
    "device": Text("Device", "设备"),
    "device_auto": Text("Best one here", "自动选择"),
    "unload": Text("Unload", "卸载"),
    "seed_hint": Text("random", "随机"),
    "seed_random": Text("Random", "随机"),
    "seed_last": Text("Last one", "沿用上次"),
    "seed_none_yet": Text(
        "There is no picture of today whose seed could be used.", "今天还没有生成过图片，没有可沿用的种子。"
    ),
    "stages": Text("Stages", "阶段参数"),
    "advanced": Text("Advanced", "高级"),
    "guidance": Text("Guidance", "引导"),
    "stage_draft": Text("Draft", "构图"),
    "stage_refine": Text("Refine", "细化"),
    "stage_final": Text("Final", "成片"),
    "everything": Text("Stages and everything else", "各阶段与更多参数"),
    "seeds_fixed": Text(
        "Fixed by the stages: the seed above has no part in the noise.", "种子由各阶段固定，上方的种子不影响噪声。"
    ),
    "seeds_fixed_some": Text("Stages with a seed of their own: {stages}", "自带固定种子的阶段：{stages}"),
    "seeds_release": Text("Release them", "改为跟随"),
    "seeds_released": Text("All stages follow the picture's seed now.", "所有阶段都已跟随整图的种子。"),
    "undo": Text("Undo", "撤销"),
    "connection_lost": Text("Connection lost", "连接已断开"),
    "connection_lost_hint": Text(
        "Reconnecting… If a press got no answer, press again when the page has been loaded anew.",
        "正在重连…若刚才的操作没有反应，页面恢复后请再按一次。",
    ),
    "model_stages": Text("The stages are those that this model recommends now.", "阶段已换成该模型推荐的设置。"),
    "undone": Text("It is as it was before.", "已恢复为之前的状态。"),
    "count": Text("Pictures", "张数"),
    "forever": Text("Generate forever: starts again whenever the queue is done", "无限生成：队列完成后自动继续"),
    "generate": Text("Generate", "开始生成"),
    "stop": Text("Stop", "停止"),
    "stop_title": Text(
        "Stop the picture that is being made (Esc); pictures that wait go on",
        "停止正在生成的图片（Esc）；排队的图片会继续",
    ),
    "stopped_one": Text("Stopped this picture; {count} more wait.", "已停止这一张，还有 {count} 张在排队。"),
    "stop_all": Text("Stop them all", "全部停止"),
    "stopped_all": Text("All pictures of that press are stopped.", "这一批图片已全部停止。"),
    "stopping": Text("Stopping…", "正在停止…"),
    "idle": Text("Write a prompt, then press Generate", "写下提示词，然后点击「开始生成」"),
    "waiting_next": Text("Up next…", "即将开始…"),
    "waiting_paused": Text("The queue is paused; this begins when it is resumed.", "队列已暂停，继续后才会开始。"),
    "waiting": Text("Waiting: {ahead} ahead in the queue", "排队中：前面还有 {ahead} 个任务"),
    "starts_in": Text("starts in about {seconds} s", "约 {seconds} 秒后开始"),
    "loading": Text("Loading the model…", "正在加载模型…"),
    "starting": Text("Reading the prompt…", "正在理解提示词…"),
    "step": Text("Stage {stage}/{stages} · step {step}/{steps}", "第 {stage}/{stages} 阶段 · 第 {step}/{steps} 步"),
    "badge": Text("Stage {stage}/{stages} · {name}", "阶段 {stage}/{stages} · {name}"),
    "saving": Text("Decoding and saving…", "正在解码并保存…"),
    "elapsed": Text("{seconds} s", "已用 {seconds} 秒"),
    "remaining": Text("about {seconds} s left", "约剩 {seconds} 秒"),
    "done": Text("Done in {seconds} s", "完成，用时 {seconds} 秒"),
    "took": Text("{seconds} s", "{seconds} 秒"),
    "cancelled": Text(
        "Stopped. Finished stages can be saved, or gone on from.", "已停止，已完成的阶段可以保存，或从那里继续。"
    ),
    "failed": Text("This run failed", "这次生成失败了"),
    "gone": Text("This run is no longer known; the app was restarted.", "找不到这次任务，程序可能已重启。"),
    "internal": Text(
        "Internal error; the app's log says more. Nothing that was saved is lost.",
        "程序内部出错，详情见运行日志；已保存的图片不受影响。",
    ),
    "stages_reset": Text(
        "The stages remembered by this browser can't be read ({reason}); the model's recommended ones were put in.",
        "浏览器里记住的阶段无法读取（{reason}），已改用该模型推荐的阶段。",
    ),
    "loras_left_out": Text(
        "LoRAs remembered by this browser were left out ({reason}); add them again.",
        "浏览器里记住的部分 LoRA 未能填入（{reason}），请重新添加。",
    ),
    "model_gone": Text(
        "The model {model} is not available here; {default} is selected.", "这里没有模型 {model}，已选择 {default}。"
    ),
    "picture_gone": Text("This picture's file is no longer there.", "这张图片的文件已不存在。"),
    "reused": Text("The picture's settings were put in.", "已填入这张图片的参数。"),
    "picture": Text("Picture", "图片"),
    "stage_picture": Text("Stage {stage}: {name}", "第 {stage} 阶段：{name}"),
    "zoom": Text("Show in full size", "放大查看"),
    "zoom_of": Text("Show in full size: {label}", "放大查看：{label}"),
    "facts": Text("Settings used", "本次参数"),
    "copied": Text("Copied", "已复制"),
    "progress": Text("Progress", "进度"),
    "fact_size": Text("Size", "尺寸"),
    "fact_fixed": Text("{seeds} (fixed by the stages)", "{seeds}（由各阶段固定）"),
    "word_follow": Text("follow", "跟随"),
    "word_random": Text("random", "随机"),
    "word_auto": Text("auto", "自动"),
    "fact_time": Text("Time", "用时"),
    "from_memory": Text("from memory", "取自缓存"),
    "fact_skipped": Text("Skipped", "跳过"),
    "fact_created": Text("Made at", "生成于"),
    **CANVAS_WORDS,
    **DROP_WORDS,
    **HISTORY_WORDS,
    **LORA_WORDS,
    **MANY_WORDS,
    **MASK_WORDS,
    **MONITOR_WORDS,
    **NEGATIVE_WORDS,
    **PRESET_WORDS,
    **PROMPT_WORDS,
    **QUEUE_WORDS,
    **STAGE_WORDS,
    **START_WORDS,
}


def knob_key(model: type[BaseModel], field: str, part: Literal["title", "help"]) -> str:
    """Return the key of a setting's title or help in the page's dictionary."""
    return f"{model.__name__}_{field}_{part}"


def card_key(card: ModelCard, part: Literal["title", "description"]) -> str:
    """Return the key of a model's title or description in the page's dictionary."""
    return f"model_{card.name}_{part}"


def catalogue(cards: Iterable[ModelCard]) -> dict[str, Text]:
    """Return every text of the page by key."""
    texts = dict(WORDS)
    knobs: tuple[type[BaseModel], ...] = (GenerationRequest, Stage, *STAGE_GROUPS.values())
    for model in knobs:
        for field in model.model_fields:
            knob = knob_of(model, field)
            texts[knob_key(model, field, "title")] = knob.title
            texts[knob_key(model, field, "help")] = knob.help
    for card in cards:
        texts[card_key(card, "title")] = card.title
        texts[card_key(card, "description")] = card.description
    return texts


def translations(cards: Iterable[ModelCard]) -> gr.I18n:
    """Return the dictionary for Gradio; calling it with a key gives a text that the browser translates."""
    texts = catalogue(cards)
    dictionaries = {
        locale: {key: text.to(language) for key, text in texts.items()} for language, locale in LOCALES.items()
    }
    return gr.I18n(**dictionaries)


def say(key: str, language: Language, **values: object) -> str:
    """Return one of the page's own texts with its placeholders filled in."""
    return WORDS[key].to(language).format(**values)
