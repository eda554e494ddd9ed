"""Texts of the queue panel, in Chinese and English."""

from __future__ import annotations

from zimage_app.domain.text import Text

QUEUE_WORDS: dict[str, Text] = {
    "queue_heading": Text("Queue", "任务队列"),
    "queue_close": Text("Close", "关闭"),
    "queue_empty": Text("Nothing runs and nothing waits.", "队列为空。"),
    "queue_others": Text("Other visitors' pictures: {count}", "其他访客的任务：{count} 个"),
    "queue_pause": Text("Pause", "暂停队列"),
    "queue_pause_title": Text(
        "Let no waiting picture begin; what runs is finished", "不再开始新的任务；进行中的会完成"
    ),
    "queue_resume": Text("Resume", "继续队列"),
    "queue_resume_title": Text("Let waiting pictures begin again", "继续处理排队的任务"),
    "queue_paused": Text("Paused: nothing new begins until you resume.", "已暂停：继续之前不会开始新的任务。"),
    "queue_clear": Text("Clear waiting", "清空排队"),
    "queue_clear_title": Text("Cancel all that wait; what runs goes on", "取消所有排队的任务；进行中的不受影响"),
    "queue_up": Text("Move up", "上移"),
    "queue_first": Text("Make it next", "置顶"),
    "queue_cancel": Text("Cancel", "取消"),
    "queue_cancel_group": Text("Cancel the group of {count}", "取消整组（{count} 个）"),
    "queue_group": Text("{title}: {done} of {total} done", "{title}：已完成 {done} / {total}"),
    "queue_waiting": Text("waiting", "排队中"),
    "queue_loading": Text("loading", "加载中"),
    "queue_running": Text("{percent} %", "{percent}%"),
    "queue_stopping": Text("stopping", "正在停止"),
    "queue_saving": Text("saving", "保存中"),
    "queue_unreachable": Text("The app doesn't answer; it may have stopped.", "程序没有响应，可能已停止。"),
}
