"""The ZIP for a bug report: versions, settings, the doctor's findings, the last log lines.

It contains no pictures, keys, names or home folders, and no prompts unless requested. All files are text, so that users
can read them before sending.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import yaml

from zimage_app.domain.errors import StorageError, system_reason
from zimage_app.domain.text import Language, Text
from zimage_app.models.disk.regular_file import read_regular
from zimage_app.service.diagnostics.details import as_text, details
from zimage_app.service.diagnostics.doctor import Finding, examine
from zimage_app.service.diagnostics.logs import FILE_NAME, MAX_FILES, log_folder, without_prompts
from zimage_app.service.diagnostics.monitor import Monitor
from zimage_app.service.diagnostics.scrub import scrubbed
from zimage_app.service.setup.settings import Settings, without_secrets
from zimage_app.service.storage.atomic_files import write_whole

_MAX_LINES = 3000
_MAX_LOG = 64 * 2**20
"""Bytes of a log file; rotation keeps it far smaller."""
_CONTENTS = Text(
    "details.txt: versions, machine, sizes of folders\n"
    "doctor.txt: what was checked, and what was found\n"
    "settings.yaml: how the app is set up, without passwords and keys\n"
    "log.txt: the last lines of the log, {prompts}\n",
    "details.txt：版本、机器、目录大小\n"
    "doctor.txt：检查项目与结果\n"
    "settings.yaml：程序设置，不含密码和密钥\n"
    "log.txt：日志的最后部分，{prompts}\n",
)
_WITH = Text("with your prompts", "含提示词")
_WITHOUT = Text("without your prompts", "不含提示词")


def write_bundle(
    path: Path,
    settings: Settings,
    language: Language,
    *,
    with_prompts: bool = False,
    checks: Callable[..., Iterable[Finding]] = examine,
) -> None:
    """Write the ZIP to a new file.

    Raises:
        StorageError: the file exists already, or can't be written.
    """
    config = settings.config
    prompts = (_WITH if with_prompts else _WITHOUT).to(language)
    texts = {
        "README.txt": _CONTENTS.to(language).format(prompts=prompts),
        "details.txt": as_text(details(config, Monitor(config.outputs), None), language),
        "doctor.txt": "".join(
            f"{each.level}: {each.about.to(language)}: {each.text.to(language)}\n" for each in checks(config)
        ),
        "settings.yaml": yaml.safe_dump(without_secrets(settings), allow_unicode=True, sort_keys=False),
        "log.txt": "".join(f"{line}\n" for line in last_lines(config.outputs, with_prompts=with_prompts)),
    }
    if path.exists():
        raise StorageError(Text(f"{path} is there already; name another file.", f"{path} 已存在；请换一个文件名。"))
    try:
        write_whole(path, _zip(texts))
    except OSError as error:
        reason = system_reason(error)
        raise StorageError(
            Text(
                f"{path} can't be written ({reason}); name another place with --out.",
                f"无法写入 {path}（{reason}）；请用 --out 指定其他位置。",
            )
        ) from error


def last_lines(outputs: Path, *, with_prompts: bool) -> list[str]:
    """The last lines of the log, oldest first."""
    newest = log_folder(outputs) / FILE_NAME
    files = [newest.with_name(f"{FILE_NAME}.{number}") for number in range(MAX_FILES - 1, 0, -1)] + [newest]
    lines: list[str] = []
    for file in files:
        try:
            lines += read_regular(file, _MAX_LOG).decode("utf-8", "replace").splitlines()
        except OSError:
            continue
    # Prompts are found in their own log lines, so they must be masked before older lines are dropped.
    return (lines if with_prompts else without_prompts(lines))[-_MAX_LINES:]


def _zip(texts: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in texts.items():
            archive.writestr(name, scrubbed(text))
    return buffer.getvalue()
