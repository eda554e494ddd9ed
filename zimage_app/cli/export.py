"""``export``: settings as a ComfyUI workflow, which makes the same picture there. Loads no model."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from zimage_app.cli.request_flags import add_request_flags, resolve_command
from zimage_app.cli.terminal import bad_input, notify
from zimage_app.domain.errors import LoraError, ModelError, RequestError, system_reason
from zimage_app.domain.text import Text
from zimage_app.service.exports.comfy import FORMS, exported
from zimage_app.service.exports.comfy.names import file_names


def add_export_command(commands: Any) -> None:
    """Add ``export`` to the program's commands."""
    parser = commands.add_parser(
        "export",
        help="settings as a ComfyUI workflow",
        description="A ComfyUI workflow that makes the same picture there: of the flags that generate takes, of a"
        " preset, or with --from of a picture. What ComfyUI can't do is refused by name.",
        conflict_handler="resolve",  # --out names the file, not as for generate the folder of pictures
    )
    parser.set_defaults(run=export)
    add_request_flags(parser)
    parser.add_argument(
        "--form",
        choices=FORMS,
        default=FORMS[0],
        help="editor: to be opened in ComfyUI's page; api: to be sent to its POST /prompt (default: editor)",
    )
    parser.add_argument("--to", "--out", type=Path, metavar="FILE", help="write it there (default: print it)")
    parser.add_argument("--replace", action="store_true", help="in the place of a file that is there")


def export(options: argparse.Namespace) -> int:
    """``export``: print or write the workflow as JSON; notes on it go to stderr."""
    if options.count != 1:
        raise RequestError("--count", Text("a workflow makes one picture", "一个工作流只生成一张图片"))
    with bad_input(ModelError, LoraError):
        asked = resolve_command(options)
        names = file_names(asked.source, asked.loras, asked.plan.request)
    workflow, notes = exported(asked.plan, asked.source.card.name, names, options.form)
    for text in (*asked.plan.warnings, *notes):
        notify(text)
    _write(options.to, options.replace, json.dumps(workflow, ensure_ascii=False, indent=1) + "\n")
    return 0


def _write(path: Path | None, replace: bool, text: str) -> None:
    if path is None:
        sys.stdout.write(text)
        return
    try:
        with path.open("w", encoding="utf-8") if replace else path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise RequestError(
            "--to",
            Text(
                f"{path} is there already; name another file, or add --replace",
                f"{path} 已存在；请换一个文件名，或加上 --replace",
            ),
        ) from error
    except OSError as error:
        reason = system_reason(error)
        raise RequestError(
            "--to", Text(f"{path} can't be written ({reason})", f"无法写入 {path}（{reason}）")
        ) from error
