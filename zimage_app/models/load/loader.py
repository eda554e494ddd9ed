"""Loads a model's Components from local files, which are fully checked before any weights are read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zimage_app.domain.errors import LoadingCancelled
from zimage_app.domain.text import Text
from zimage_app.models.components import Components, LatentFormat, PreviewFactors
from zimage_app.models.disk.folders import shown
from zimage_app.models.find.model_files import ModelFiles, PartFiles, model_files
from zimage_app.models.find.model_source import ModelSource
from zimage_app.models.networks.networks import TEXT_ENCODER, TRANSFORMER, VAE, Network, open_network
from zimage_app.models.networks.text_encoder import Qwen3TextEncoder, Tokenizer, load_tokenizer
from zimage_app.models.networks.transformer import FastTransformer
from zimage_app.models.networks.vae import VaeCodec
from zimage_app.models.weights.placement import MemoryPlan
from zimage_app.models.weights.weight_file import damaged, open_file, read_json

FLUX_PREVIEW = PreviewFactors(
    factors=(
        (-0.0346, 0.0244, 0.0681),
        (0.0034, 0.0210, 0.0687),
        (0.0275, -0.0668, -0.0433),
        (-0.0174, 0.0160, 0.0617),
        (0.0859, 0.0721, 0.0329),
        (0.0004, 0.0383, 0.0115),
        (0.0405, 0.0861, 0.0915),
        (-0.0236, -0.0185, -0.0259),
        (-0.0245, 0.0250, 0.1180),
        (0.1008, 0.0755, -0.0421),
        (-0.0515, 0.0201, 0.0011),
        (0.0428, -0.0012, -0.0036),
        (0.0817, 0.0765, 0.0749),
        (-0.1264, -0.0522, -0.1103),
        (-0.0280, -0.0881, -0.0499),
        (-0.1262, -0.0982, -0.0778),
    ),
    bias=(-0.0329, -0.0718, -0.0851),
)
"""Preview factors for latents of Flux's autoencoder, which Z-Image uses (HOW-IT-COMPUTES.md section 2)."""


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """The network that is being read, and the progress of the whole model."""

    part: Text
    fraction: float
    """Fraction of the parameters read, 0…1."""


def ignore_progress(progress: LoadProgress) -> None:
    """Do nothing with it."""
    del progress


def never_cancelled() -> bool:
    """Return False."""
    return False


class _LoadMonitor:
    """Reports the progress of reading, and stops it when it is cancelled."""

    def __init__(
        self,
        parts: Sequence[Network],
        progress: Callable[[LoadProgress], None] = ignore_progress,
        cancelled: Callable[[], bool] = never_cancelled,
    ) -> None:
        self._total = sum(part.parameters for part in parts)
        self._done = 0
        self._progress = progress
        self._cancelled = cancelled

    def read(self, title: Text, parameters: int) -> None:
        """Report that a tensor with this many numbers is read next; raises LoadingCancelled."""
        _check_cancelled(self._cancelled)
        self._progress(LoadProgress(title, self._done / self._total))
        self._done += parameters

    def done(self) -> None:
        """Report that everything is read."""
        self._progress(LoadProgress(Text("done", "完成"), 1.0))


def _check_cancelled(cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise LoadingCancelled


def load_components(
    source: ModelSource,
    plan: MemoryPlan,
    progress: Callable[[LoadProgress], None] = ignore_progress,
    cancelled: Callable[[], bool] = never_cancelled,
) -> Components:
    """Load the parts of a model from the locations in ``source``, placed according to ``plan``.

    ``progress`` and ``cancelled`` are called before every tensor, and ``cancelled`` also between the checks of parts.

    Raises:
        ModelError: names the file, what is wrong with it and what to do.
        LoadingCancelled: ``cancelled`` returned True.
    """
    _check_cancelled(cancelled)
    files = model_files(source)
    preview = _preview(source.folder)
    parts = _open_parts(files, cancelled)
    tokenizer = _tokenizer(files.tokenizer, parts[0])
    monitor = _LoadMonitor(parts, progress, cancelled)
    text = _fill(parts[0], plan.for_text, monitor)
    transformer, vae = _fill(parts[1], plan, monitor), _fill(parts[2], plan.for_vae, monitor)
    monitor.done()
    fast = FastTransformer(transformer, parts[1].reader(plan).reread)
    return Components(
        card=source.card,
        text=Qwen3TextEncoder(text, tokenizer, fast.max_tokens, plan.device),
        transformer=fast,
        codec=VaeCodec(vae),
        latent=LatentFormat(vae.config.scaling_factor, vae.config.shift_factor),
        preview=preview,
        notes=(*parts[0].notes(plan.for_text), *(note for part in parts[1:] for note in part.notes(plan))),
    )


def check_model(source: ModelSource) -> None:
    """Check a model's files as ``load_components`` does, without reading weights.

    Raises:
        ModelError: names the file, what is wrong with it and what to do.
    """
    files = model_files(source)
    _preview(source.folder)
    _tokenizer(files.tokenizer, _open_parts(files)[0])


def load_transformer(weights: Path, config: Mapping[str, Any], plan: MemoryPlan) -> FastTransformer:
    """Load only a transformer, from a safetensors or GGUF file and its config (missing keys take the class's defaults).

    Raises ModelError as ``load_components`` does.
    """
    part = open_network(TRANSFORMER, PartFiles(open_file(weights), config, weights))
    return FastTransformer(_fill(part, plan, _LoadMonitor([part])), part.reader(plan).reread)


def _fill(part: Network, plan: MemoryPlan, monitor: _LoadMonitor) -> Any:
    try:
        module = part.fill(plan, lambda parameters: monitor.read(part.kind.title, parameters))
    except (OSError, RuntimeError, ValueError, TypeError, MemoryError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise damaged(
            part.files.weights.path,
            f"could not be read ({reason}); free memory, or download the file again",
            f"读取失败（{reason}）；请释放内存或重新下载该文件",
        ) from error
    return module


def _open_parts(files: ModelFiles, cancelled: Callable[[], bool] = never_cancelled) -> tuple[Network, Network, Network]:
    """Open text encoder, transformer and VAE; check each, then their compatibility. Raises LoadingCancelled."""
    text = open_network(TEXT_ENCODER, files.text_encoder)
    _check_cancelled(cancelled)
    transformer = open_network(TRANSFORMER, files.transformer)
    _check_cancelled(cancelled)
    vae = open_network(VAE, files.vae)
    _check_cancelled(cancelled)
    _check_match(text, "hidden_size", transformer, "cap_feat_dim")
    _check_match(vae, "latent_channels", transformer, "in_channels")
    if transformer.module.config.in_channels != len(FLUX_PREVIEW.factors):
        raise damaged(
            files.transformer.config_file,
            f"says in_channels {transformer.module.config.in_channels}; only 16 is supported",
            f"中 in_channels 为 {transformer.module.config.in_channels}；只支持 16",
        )
    return text, transformer, vae


def _tokenizer(folder: Path, text: Network) -> Tokenizer:
    """Load the folder's tokenizer; raises ModelError if it has more tokens than the text encoder's embedding."""
    tokenizer = load_tokenizer(folder)
    known = text.module.config.vocab_size
    if tokenizer.size > known:
        raise damaged(
            folder,
            f"has {tokenizer.size} tokens, but {shown(text.files.config_file)} says vocab_size {known};"
            " use tokenizer and text encoder of the same model",
            f"中的分词器有 {tokenizer.size} 个词元，而 {shown(text.files.config_file)} 中 vocab_size 为 {known}；"
            "请使用同一模型的分词器和文本编码器",
        )
    return tokenizer


def _check_match(part: Network, name: str, other: Network, other_name: str) -> None:
    value, wanted = getattr(part.module.config, name), getattr(other.module.config, other_name)
    if value != wanted:
        raise damaged(
            part.files.config_file,
            f"says {name} {value}, but {shown(other.files.config_file)} says {other_name} {wanted};"
            " use parts of the same model",
            f"中 {name} 为 {value}，而 {shown(other.files.config_file)} 中 {other_name} 为 {wanted}；"
            "请使用同一模型的各部分",
        )


def _preview(folder: Path) -> PreviewFactors:
    """Return the factors in the folder's ``preview.json``, or ``FLUX_PREVIEW`` if it has none."""
    path = folder / "preview.json"
    if not path.is_file():
        return FLUX_PREVIEW
    data = read_json(path)
    try:
        rows = tuple(_colour(row) for row in data["factors"])
        bias = _colour(data["bias"])
        if len(rows) != len(FLUX_PREVIEW.factors):
            raise ValueError(f"{len(rows)} rows of factors")
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(
            path,
            f"must hold 'factors' (16 rows of 3 numbers) and 'bias' (3 numbers), but has {error}; fix or delete it",
            f"应含有 factors（16 组，每组 3 个数）和 bias（3 个数），但出现问题：{error}；请修正或删除该文件",
        ) from error
    return PreviewFactors(rows, bias)


def _colour(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    if not all(math.isfinite(value) for value in (red, green, blue)):
        raise ValueError("a number that is not finite")
    return red, green, blue
