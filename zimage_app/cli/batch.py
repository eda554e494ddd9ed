"""``batch``: a picture for each entry of a file, made in this process or by the running app; it can be resumed."""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from zimage_app.cli.folders import add_alone_flag, config_of
from zimage_app.cli.hand_over import check_app_can_make
from zimage_app.cli.makers import AppMaker, LocalMaker, MakeCallbacks, Maker, TaskCancelled
from zimage_app.cli.presets import preset_of
from zimage_app.cli.request_flags import add_setting_flags, choose_model, planner, settings_data
from zimage_app.cli.terminal import INTERRUPTED, bad_input, notify
from zimage_app.domain.errors import (
    GenerationError,
    LoraError,
    ModelError,
    RequestError,
    StorageError,
    system_reason,
)
from zimage_app.domain.negatives import joined, with_nag
from zimage_app.domain.plan import MAX_UPCOMING, GenerationPlan, draw_seed
from zimage_app.domain.plan_summary import plan_numbers, seconds_words
from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.text import Text
from zimage_app.models.disk.file_lock import take
from zimage_app.models.disk.regular_file import read_regular
from zimage_app.models.find.model_source import ModelSource
from zimage_app.service.generation.run_times import RunTimes
from zimage_app.service.generation.start_pictures import inputs_of
from zimage_app.service.jobs.folder_lock import running_app
from zimage_app.service.library.loras import LoraLibrary
from zimage_app.service.many.batch.item_files import count_replaced, picture_path, save_item, unfinished_items
from zimage_app.service.many.batch.items import NAME, BatchItem, BatchOptions, batch_items
from zimage_app.service.many.batch.manifest import Manifest
from zimage_app.service.many.batch.reading import read_batch
from zimage_app.service.pictures.gallery import Gallery
from zimage_app.service.pictures.views import SavedPicture
from zimage_app.service.setup.config import StudioConfig

_FOLDER = "batches"
"""Folder below outputs/."""
_HASH = 8
"""Letters of the hash in a folder's name."""
ADVICE = Text("Choose another folder with --to.", "请用 --to 换一个文件夹。")
_SHOWN_PROMPT = 50
_MAX_GROUP = 64
"""Characters of a group's name."""
_MAX_NEGATIVE = 2**16
"""Bytes of a file with a negative prompt."""


def add_batch_command(commands: Any) -> None:
    """Add ``batch`` to the program's commands."""
    parser = commands.add_parser(
        "batch",
        help="make a picture for each entry of a file",
        description="Make a picture for each entry of FILE: text (a prompt a line), CSV, JSON, JSONL, YAML, or a"
        " persona with tweets. Run again, what is done is skipped, and what changed is made anew.",
    )
    parser.set_defaults(run=make_batch)
    parser.add_argument("file", metavar="FILE", type=Path, help="the ending says its form; see docs/BATCH.md")
    parser.add_argument("--dry-run", action="store_true", help="say what would be made and how long it takes")
    parser.add_argument("--to", type=Path, metavar="DIR", help="where named pictures and manifest.jsonl go")
    parser.add_argument("--name", default=NAME, metavar="PATTERN", help=f"of the files (default: {NAME})")
    parser.add_argument("--limit", type=int, metavar="N", help="at most so many pictures in this run")
    parser.add_argument("--shuffle", action="store_true", help="in another order, which the seed decides")
    parser.add_argument(
        "--seed-mode",
        choices=("count", "fixed", "random"),
        default="count",
        help="seeds of entries that have none of their own: counted from --seed, always --seed, or drawn",
    )
    parser.add_argument("--negative-prompt-file", type=Path, metavar="FILE", help="a text that is joined to --negative")
    parser.add_argument("--stages", type=int, metavar="N", help="the first N stages only")
    add_alone_flag(parser)
    add_setting_flags(parser)


def make_batch(options: argparse.Namespace) -> int:
    """``batch``: exit status 0 where all pictures are done, 1 where some failed, 130 where it was stopped."""
    config = config_of(options)
    if options.limit is not None and options.limit < 1:
        raise RequestError("--limit", Text(f"{options.limit}: must be at least 1", f"{options.limit}：至少为 1"))
    manifest = Manifest.read(options.to or _usual_folder(config, options.file), ADVICE)
    with bad_input(ModelError, LoraError):
        source, items = _items(options, config, manifest)
    left = unfinished_items(items, manifest)
    _say_counts(items, left, options.limit)
    left = left[: options.limit]
    say_replaced(left, manifest)
    if options.dry_run:
        show_items(left)
        _say_seconds(left, source, config)
        return 0
    return make_items(left, options, source, config, manifest) if left else 0


def _usual_folder(config: StudioConfig, file: Path) -> Path:
    """The folder with the file's name; with a hash added if a file of the same name elsewhere uses that folder."""
    usual = config.outputs / _FOLDER / file.stem
    begun = Manifest.read(usual, ADVICE).file
    path = file.resolve()
    if not begun or Path(begun).resolve() == path:
        return usual
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:_HASH]
    return usual.with_name(f"{usual.name}-{digest}")


def make_items(
    items: list[BatchItem], options: argparse.Namespace, source: ModelSource, config: StudioConfig, manifest: Manifest
) -> int:
    """Make the pictures, in the running app if there is one; returns the exit status."""
    gallery = Gallery(config.outputs)
    with _locked(manifest.folder):
        app = None if options.alone else running_app(config.state)
        if app is None:
            return _run(items, LocalMaker(source, config, gallery), manifest, gallery)
        check_app_can_make(app, options, source, config)
        notify(Text(f"Made by the app running at {app.address}.", f"由正在 {app.address} 运行的程序生成。"))
        group = f"{options.command} {manifest.folder.name}"[:_MAX_GROUP]
        return _run(items, AppMaker(app, source.card.name, group, gallery), manifest, gallery)


def _items(
    options: argparse.Namespace, config: StudioConfig, manifest: Manifest
) -> tuple[ModelSource, list[BatchItem]]:
    """The model, and the requested pictures in the order in which they are made."""
    preset = preset_of(options)
    source = choose_model(config, options.model, preset)
    settings = settings_data(options, source.card, preset)
    if options.negative_prompt_file:
        settings["negative"] = joined(settings["negative"], _negative(options.negative_prompt_file))
    if options.stages is not None:
        settings["stages"] = _first_stages(settings.get("stages"), options.stages)
    inputs, plan = inputs_of(config), planner(config, source, LoraLibrary(*config.lora_folders))

    def planned(request: GenerationRequest) -> GenerationPlan:
        inputs.check(request.start)
        return plan(with_nag(request) if options.nag else request)

    batch = read_batch(options.file)
    given = settings.get("seed")
    seed = given if isinstance(given, int) else (draw_seed() if manifest.seed is None else manifest.seed)
    made_with = f"{source.card.name}{' --nag' if options.nag else ''}"
    asked = BatchOptions(settings, planned, seed, options.seed_mode, options.name, made_with)
    items, notes = batch_items(str(options.file), batch, asked)
    for note in notes:
        notify(note)
    if options.dry_run and manifest.seed is None and not isinstance(given, int):
        notify(Text("Without --seed the run draws its own seeds.", "未指定 --seed，实际运行时会另行抽取种子。"))
    elif manifest.seed is None and not options.dry_run:
        manifest.add("begun", seed=seed, file=str(options.file.resolve()), model=source.card.name)
    if options.shuffle:
        random.Random(seed).shuffle(items)
    return source, items


def _negative(path: Path) -> str:
    try:
        return " ".join(read_regular(path, _MAX_NEGATIVE).decode("utf-8-sig").split())
    except (OSError, UnicodeDecodeError) as error:
        reason = str(error)
        raise RequestError("--negative-prompt-file", Text(f"{path}: {reason}", f"{path}：{reason}")) from error


def _first_stages(stages: object, count: int) -> list[Any]:
    if not isinstance(stages, list):
        raise RequestError("stages", Text("must be a list", "必须是列表"))
    if not 1 <= count <= len(stages):
        allowed = Text(f"{count}: must be from 1 to {len(stages)}", f"{count}：必须在 1 到 {len(stages)} 之间")
        raise RequestError("--stages", allowed)
    return stages[:count]


def _say_counts(items: list[BatchItem], left: list[BatchItem], limit: int | None) -> None:
    done, now = len(items) - len(left), len(left[:limit])
    pictures = "picture" if len(items) == 1 else "pictures"
    notify(
        Text(
            f"{len(items)} {pictures}: {done} done already, {now} to make now.",
            f"共 {len(items)} 张：已完成 {done} 张，本次生成 {now} 张。",
        )
    )


def say_replaced(left: list[BatchItem], manifest: Manifest) -> None:
    """Print how many files with other settings will be replaced, if any."""
    count = count_replaced(left, manifest)
    if count:
        notify(
            Text(
                f"Replaces files of the same names in {manifest.folder}: {count}; pictures stay in the history.",
                f"将替换 {manifest.folder} 中的 {count} 个同名文件；图片仍保留在历史中。",
            )
        )


def show_items(items: list[BatchItem]) -> None:
    """Print one line for each picture that would be made."""
    for item in items:
        last = item.plan.stages[-1].settings
        prompt = " ".join(item.plan.request.full_prompt.split())
        short = prompt if len(prompt) <= _SHOWN_PROMPT else f"{prompt[: _SHOWN_PROMPT - 1]}…"
        sys.stdout.write(f"{item.name}.png  {last.width}x{last.height}  {item.plan.request.seed}  {short}\n")


def _say_seconds(items: list[BatchItem], source: ModelSource, config: StudioConfig) -> None:
    """Print the estimated time of all pictures."""
    timed = RunTimes(config.outputs).of(source.card.name)
    seconds = [plan_numbers(item.plan, timed).seconds for item in items]
    known = [each for each in seconds if each is not None]
    whole = seconds_words(sum(known) if len(known) == len(items) else None)
    notify(Text(f"All of it: {whole.en}.", f"合计：{whole.zh}。"))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the batch's folder.

    Raises:
        GenerationError: another run holds the lock.
        StorageError: the folder can't be written to.
    """
    lock = FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        take(lock)
    except Timeout as error:
        raise GenerationError(
            Text(f"This batch is being made already, into {folder}.", f"该批次正在生成中：{folder}。")
        ) from error
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        yield
    finally:
        lock.release()


def _run(items: list[BatchItem], maker: Maker, manifest: Manifest, gallery: Gallery) -> int:
    stop = threading.Event()
    failed = 0
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.fields[name]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
    with maker, _stopping(stop), bar:
        task = bar.add_task("", total=len(items), name="")
        told: set[str] = set()
        for number, item in enumerate(items):
            bar.update(task, completed=number, name=item.name)
            callbacks = MakeCallbacks(partial(_advance, bar, task, number), stop.is_set, partial(_warn, bar, told))
            try:
                upcoming = items[number + 1 : number + 1 + MAX_UPCOMING]
                saved = _made_before(item, manifest, gallery) or maker.make(item, manifest, callbacks, upcoming)
            except (GenerationError, LoraError, RequestError) as error:
                failed += 1
                state: Literal["cancelled", "failed"] = "cancelled" if isinstance(error, TaskCancelled) else "failed"
                manifest.add_end(state, item.key, error.text, index=item.index, id=item.id)
                notify(Text(f"{item.name}: {error.text.en}", f"{item.name}：{error.text.zh}"))
                continue
            if saved is None:
                notify(Text("Stopped; run again to go on.", "已停止；再次运行即可继续。"))
                return INTERRUPTED
            sys.stdout.write(f"{_named(item, saved, manifest)}\n")
            sys.stdout.flush()
    if failed:
        notify(Text(f"{failed} not made; run again to try them anew.", f"{failed} 张未生成；再次运行可重试。"))
    return 1 if failed else 0


def _named(item: BatchItem, saved: SavedPicture, manifest: Manifest) -> Path:
    """Put a picture into the batch's folder; raises StorageError where that fails."""
    try:
        return save_item(item, saved, manifest)
    except OSError as error:
        raise _unwritable(picture_path(item, manifest), error) from error


def _unwritable(path: Path, error: OSError) -> StorageError:
    reason = system_reason(error)
    return StorageError(
        Text(f"{path} can't be written ({reason}). {ADVICE.en}", f"无法写入 {path}（{reason}）。{ADVICE.zh}")
    )


def _advance(bar: Progress, task: TaskID, done: int, part: float) -> None:
    bar.update(task, completed=done + part)


def _warn(bar: Progress, told: set[str], warning: str) -> None:
    """Print a warning above the bar, once per batch."""
    if warning not in told:
        told.add(warning)
        bar.console.print(warning, markup=False, highlight=False, soft_wrap=True)


def _made_before(item: BatchItem, manifest: Manifest, gallery: Gallery) -> SavedPicture | None:
    """The item's picture if the batch was killed after saving it but before recording it as done."""
    line = manifest.last.get(item.key)
    return gallery.find(str(line.get("picture"))) if line is not None and line["state"] == "saving" else None


@contextmanager
def _stopping(stop: threading.Event) -> Iterator[None]:
    """The first Ctrl-C ends the batch after the current model evaluation, the second immediately."""

    def ask(number: int, frame: object) -> None:
        del number, frame
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        notify(Text("Stopping after this step; once more to end at once.", "将在当前步结束后停止；再按一次立即退出。"))

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    usual = signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        with suppress(ValueError):
            signal.signal(signal.SIGINT, usual)
