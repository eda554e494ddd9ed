"""Texts of the canvas and of the actions on a picture, in Chinese and English."""

from __future__ import annotations

from zimage_app.domain.another import LITTLE, MUCH
from zimage_app.domain.text import Text

CANVAS_WORDS: dict[str, Text] = {
    "latest": Text("Latest", "最近"),
    "try_again": Text("Try again", "重试"),
    "facts_close": Text("Hide the settings", "收起参数"),
    "offer": Text("Write a prompt, or begin with one of these", "写下提示词，或从示例开始"),
    "offer_about": Text("Drawn by the demo model. One press makes it.", "示例图由演示模型绘制，点一下即可生成。"),
    "reconnecting": Text(
        "Connection lost, reconnecting… Your picture stays in the queue.", "连接已断开，正在重连…任务仍在队列中。"
    ),
    "cancelled_early": Text("Stopped before a stage was finished.", "已停止，没有已完成的阶段。"),
    # The row of actions
    "acts": Text("What to do with this picture", "图片操作"),
    "act_save": Text("Save", "保存"),
    "act_save_title": Text(
        "Save as PNG, JPEG or WebP, with the settings inside, or as ComfyUI workflow",
        "存为 PNG、JPEG 或 WebP（内含参数），或 ComfyUI 工作流",
    ),
    "act_star": Text("Star", "收藏"),
    "act_star_title": Text("Add to favourites", "加入收藏"),
    "act_again": Text("Again", "重新生成"),
    "act_again_title": Text(
        "Make it again with the same seed; the pixels are compared", "用同一种子重新生成，并逐像素对比"
    ),
    "act_another": Text("New seed", "换种子"),
    "act_another_title": Text("The same settings with another seed", "参数不变，换一个种子再生成"),
    "act_vary": Text("Vary", "变体"),
    "act_vary_title": Text("Variations, or keep the composition and redo the rest", "生成变体，或保留构图重做其余阶段"),
    "act_start": Text("Img2img", "图生图"),
    "act_start_title": Text("Start from this picture at a stage", "以这张图为起始图片，从某一阶段开始"),
    "act_start_none": Text("All stages are off; switch one on first.", "所有阶段都已关闭，请先启用一个阶段。"),
    "act_upscale": Text("Upscale", "放大"),
    "act_upscale_title": Text("Upscale 2×", "放大 2 倍"),
    "act_compare": Text("Compare", "对比"),
    "act_compare_title": Text("Compare its stages, or with another picture", "对比各阶段，或与另一张图对比"),
    "act_compare_none": Text(
        "Only one stage is finished, so there is nothing to compare it with.", "只完成了一个阶段，没有可对比的图片。"
    ),
    "act_reuse": Text("Settings", "使用此参数"),
    "act_reuse_title": Text("Use these settings", "把这张图的参数填入左侧"),
    "act_copy": Text("Copy", "复制"),
    "act_copy_title": Text("Copy the picture, its seed, prompt or parameters", "复制图片、种子、提示词或生成参数"),
    "act_details": Text("Details", "详情"),
    "act_details_title": Text("Show or hide the settings used", "显示或收起这张图的参数"),
    "act_delete": Text("Delete", "删除"),
    "act_delete_title": Text("Move to the trash", "移到回收站"),
    "act_on": Text("Go on", "继续生成"),
    "act_on_title": Text("Go on from here; finished stages come from memory", "从这里继续，已完成的阶段取自缓存"),
    # Its menus
    "save_png": Text("PNG (original)", "PNG（原图）"),
    "save_workflow": Text("ComfyUI workflow", "ComfyUI 工作流"),
    "vary_little": Text(f"A little different (variation {LITTLE:g})", f"小幅变化（变化强度 {LITTLE:g}）"),
    "vary_much": Text(f"Quite different (variation {MUCH:g})", f"大幅变化（变化强度 {MUCH:g}）"),
    "vary_keep": Text("Keep the composition (stage 1), redo the rest", "保留构图（第 1 阶段），重做其余"),
    "vary_keep_more": Text("Keep stages 1 to {kept}, redo the rest", "保留第 1–{kept} 阶段，重做其余"),
    "start_at": Text("At stage {stage} (denoise {denoise})", "从第 {stage} 阶段开始（重绘幅度 {denoise}）"),
    "started_from": Text(
        "The next picture starts from this one at stage {stage}. Press Generate.",
        "已设为起始图片，从第 {stage} 阶段开始；点击「开始生成」。",
    ),
    "compare_neighbour": Text("With the one beside it", "与相邻的一张对比"),
    "compare_hold": Text("Choose it for comparing", "选为对比图"),
    "compare_held": Text("With the chosen one", "与选定的对比图对比"),
    "compare_is_held": Text("Chosen. Take Compare at another picture now.", "已选为对比图，再到另一张图上点「对比」。"),
    "copy_picture": Text("Picture", "图片"),
    "copy_seed": Text("Seed", "种子"),
    "copy_prompt": Text("Prompt", "提示词"),
    "copy_parameters": Text("Parameters (A1111 text)", "生成参数（A1111 文本）"),
    "copy_needs_https": Text(
        "Browsers copy pictures over https or from localhost only; save it instead.",
        "浏览器仅在 https 或 localhost 下允许复制图片，请改用保存。",
    ),
    "copy_failed": Text(
        "The browser did not let the picture be copied; save it instead.", "浏览器未允许复制图片，请改用保存。"
    ),
    # Signals at a run's end
    "signal_notify": Text("Notify me when a picture is done", "完成时发送通知"),
    "signal_sound": Text("Play a sound when a picture is done", "完成时播放提示音"),
    "signal_done": Text("Your picture is done", "图片已生成"),
    "signal_failed": Text("The picture could not be made", "图片生成失败"),
    "signal_denied": Text(
        "The browser does not allow notifications of this page; allow them in its settings.",
        "浏览器禁止了本页的通知，请在浏览器设置中允许。",
    ),
    "signal_notify_fails": Text(
        "This browser can't show a page's notifications; they were switched off.",
        "此浏览器无法显示网页通知，已关闭通知。",
    ),
    "signal_sound_fails": Text(
        "This browser can't play the sound; it was switched off.", "此浏览器无法播放提示音，已关闭。"
    ),
    "signal_needs_https": Text(
        "Browsers allow notifications over https or from localhost only.", "浏览器仅在 https 或 localhost 下允许通知。"
    ),
}
