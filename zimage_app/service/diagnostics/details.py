"""Facts for a bug report: versions, machine, model, folders; without anything that identifies the user.

Folders are named by their purpose, never by their path. Imports neither torch nor gradio.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from zimage_app.domain.fetching import shown_size
from zimage_app.domain.text import Language, Text
from zimage_app.domain.version import __version__
from zimage_app.service.diagnostics.gpus import Amount, GpuStatus
from zimage_app.service.diagnostics.monitor import MachineStatus, Monitor
from zimage_app.service.diagnostics.scrub import scrubbed
from zimage_app.service.generation.model_slot import LoadedModel
from zimage_app.service.setup.config import StudioConfig

_PACKAGES = (
    "torch",
    "diffusers",
    "transformers",
    "gradio",
    "safetensors",
    "huggingface-hub",
    "pydantic",
    "numpy",
    "pillow",
)
_MAX_SECONDS = 2.0
"""Time limit for adding up the size of one folder."""


@dataclass(frozen=True, slots=True)
class DetailRow:
    """One fact: its name and value."""

    name: Text
    value: Text


@dataclass(frozen=True, slots=True)
class Section:
    """Facts under a common title."""

    title: Text
    rows: tuple[DetailRow, ...]


def details(
    config: StudioConfig, monitor: Monitor, loaded: LoadedModel | None, warnings: Sequence[Text] = ()
) -> tuple[Section, ...]:
    """Collect all sections. Adding up the folders' sizes takes a few seconds at most."""
    notices = tuple(DetailRow(Text("Notice", "提示"), _scrubbed(warning)) for warning in warnings)
    return (
        *((Section(Text("Notices", "提示"), notices),) if notices else ()),
        Section(Text("Versions", "版本"), tuple(_versions(monitor.driver()))),
        Section(Text("Model in memory", "内存中的模型"), tuple(_model(loaded))),
        Section(Text("Machine", "机器"), tuple(_machine(monitor.machine()))),
        Section(Text("Folders", "目录"), tuple(_folders(config))),
    )


def as_text(sections: Sequence[Section], language: Language) -> str:
    """The sections as plain text."""
    lines: list[str] = []
    for section in sections:
        lines.append(f"[{section.title.to(language)}]")
        lines += (f"{row.name.to(language)}: {row.value.to(language)}" for row in section.rows)
    return "\n".join(lines) + "\n"


def _scrubbed(text: Text) -> Text:
    return Text(scrubbed(text.en), scrubbed(text.zh))


def _plain(name: str, value: str) -> DetailRow:
    return DetailRow(Text(name, name), Text(value, value))


def _versions(driver: str | None) -> Iterable[DetailRow]:
    yield _plain("Z-Image Progressive Studio", __version__)
    yield _plain("Python", platform.python_version())
    yield DetailRow(Text("System", "系统"), _same(f"{platform.system()} {platform.release()} {platform.machine()}"))
    for name in _PACKAGES:
        yield _plain(name, installed(name) or "-")
    if driver is not None:
        yield DetailRow(Text("NVIDIA driver", "NVIDIA 驱动"), _same(driver))


def installed(package: str) -> str | None:
    """A package's version; None where it isn't installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _same(text: str) -> Text:
    return Text(text, text)


def _model(loaded: LoadedModel | None) -> Iterable[DetailRow]:
    if loaded is None:
        yield DetailRow(
            Text("Model", "模型"), Text("none yet; the first picture loads it", "尚未加载，生成第一张图片时加载")
        )
        return
    yield DetailRow(Text("Model", "模型"), _same(loaded.name))
    yield DetailRow(
        Text("Memory plan", "内存方案"),
        _scrubbed(Text("; ".join(t.en for t in loaded.about), "；".join(t.zh for t in loaded.about))),
    )
    if "torch" in sys.modules:
        from zimage_app.models.device import attention_kernels

        kernels = ", ".join(attention_kernels())
        yield DetailRow(Text("Attention", "注意力后端"), _same(f"PyTorch SDPA ({kernels})"))


def _machine(machine: MachineStatus) -> Iterable[DetailRow]:
    load = machine.processor_load
    yield DetailRow(
        Text("Processors", "处理器"),
        _same(f"{machine.processors:g}")
        if load is None
        else Text(f"{machine.processors:g}, {load:.0%} busy", f"{machine.processors:g}，负载 {load:.0%}"),
    )
    if machine.memory is not None:
        yield DetailRow(Text("Memory", "内存"), _amount(machine.memory, _binary))
    for gpu in machine.gpus:
        yield DetailRow(Text("Accelerator", "加速设备"), _accelerator(gpu))
    if machine.disk is not None:
        yield DetailRow(Text("Disk of the pictures", "图片所在磁盘"), _amount(machine.disk))


def _accelerator(gpu: GpuStatus) -> Text:
    facts = [_same(gpu.name)]
    if gpu.load is not None:
        facts.append(Text(f"{gpu.load:.0%} busy", f"负载 {gpu.load:.0%}"))
    if gpu.memory is not None:
        facts.append(_amount(gpu.memory, _binary))
    if gpu.temperature is not None:
        facts.append(_same(f"{gpu.temperature} °C"))
    return Text("; ".join(fact.en for fact in facts), "；".join(fact.zh for fact in facts))


def _amount(amount: Amount, show: Callable[[float], str] = shown_size) -> Text:
    used, total, free = (show(size) for size in (amount.used, amount.total, amount.total - amount.used))
    return Text(f"{used} of {total} used, {free} free", f"已用 {used} / {total}，剩余 {free}")


def _binary(size: float) -> str:
    """Memory in units of 2^30 bytes, in which it is sold: a 16 GB card has 16 of them."""
    return f"{size / 2**30:.1f} GB"


def _folders(config: StudioConfig) -> Iterable[DetailRow]:
    yield DetailRow(Text("Pictures", "图片"), _size(config.outputs, ".png"))
    for name, folder in (
        (Text("Models", "模型"), config.models),
        (Text("LoRAs", "LoRA"), config.loras),
        (Text("Presets", "预设"), config.presets),
    ):
        yield DetailRow(name, _size(folder))


def _size(folder: Path, suffix: str = "") -> Text:
    if not folder.is_dir():
        return Text("not there", "不存在")
    files = size = 0
    until = time.monotonic() + _MAX_SECONDS
    for each in _file_sizes(folder, suffix):
        files += 1
        size += each
        if time.monotonic() > until:
            return Text(f"more than {files} files, {shown_size(size)}", f"超过 {files} 个文件，{shown_size(size)}")
    count = "1 file" if files == 1 else f"{files} files"
    return Text(f"{count}, {shown_size(size)}", f"{files} 个文件，{shown_size(size)}")


def _file_sizes(folder: Path, suffix: str) -> Iterable[int]:
    """Yield the bytes of each file below a folder; links are not followed.

    With a suffix, only of the files with it, and not of hidden ones, such as databases and the trash.
    """
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        if suffix and entry.name.startswith("."):
            continue
        try:
            if entry.is_dir(follow_symlinks=False):
                yield from _file_sizes(Path(entry.path), suffix)
            elif entry.name.endswith(suffix):
                yield entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue
