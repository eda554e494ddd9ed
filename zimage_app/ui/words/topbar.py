"""Texts of the top bar's figures and of the panel of details, in Chinese and English."""

from __future__ import annotations

from zimage_app.domain.text import Text

MONITOR_WORDS: dict[str, Text] = {
    "monitor_open": Text("Details of this machine and app", "查看机器与程序详情"),
    "monitor_heading": Text("Machine and app", "机器与程序"),
    "monitor_copy": Text("Copy", "复制"),
    "monitor_close": Text("Close", "关闭"),
    "monitor_asking": Text("Looking…", "正在读取…"),
    "monitor_unreachable": Text("The app doesn't answer; it may have stopped.", "程序没有响应，可能已停止。"),
    "monitor_note": Text(
        "For a bug report. There are no prompts, pictures, names or folders of yours in it.",
        "可粘贴到问题反馈中；不含提示词、图片、用户名和个人路径。",
    ),
    "monitor_closed": Text(
        "On a shared page, the machine's details are not shown.", "公开分享的页面上不显示机器详情。"
    ),
    "monitor_jobs": Text("Jobs {jobs}", "任务 {jobs}"),
    "monitor_jobs_paused": Text("Paused · {jobs}", "已暂停 · {jobs}"),
    "monitor_jobs_title": Text("{running} running, {waiting} waiting", "{running} 个运行中，{waiting} 个排队"),
    "monitor_place": Text("Queue: no. {place}", "排队第 {place} 位"),
    "monitor_own_title": Text("Your pictures that run and wait", "你的任务，包括进行中和排队的"),
    "monitor_place_title": Text("Your place in the queue", "你在队列中的位置"),
    "monitor_cpu_title": Text("Load of {processors} processors", "{processors} 个处理器的负载"),
    "monitor_ram_title": Text("Memory in use", "内存占用"),
    "monitor_gpu_title": Text("Load of {name}", "{name} 的负载"),
    "monitor_vram_title": Text("Video memory in use, {name}", "显存占用，{name}"),
    "monitor_temperature_title": Text("Temperature of {name}", "{name} 的温度"),
    "monitor_disk": Text("Disk {free} free", "磁盘剩余 {free}"),
    "monitor_disk_title": Text("Free where pictures are saved", "图片所在磁盘的剩余空间"),
    "monitor_notice": Text("Attention", "请注意"),
}
