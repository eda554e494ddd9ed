"""ESRGAN upscalers: the network, and a reader for the common kinds of files.

The network is RRDBNet (arXiv 1809.00219). If the model's scale is smaller than that of its layers, a pixel-unshuffle
precedes it, as in Real-ESRGAN (arXiv 2107.10833). The network's size is derived from the weights. There are three
naming schemes for the same layers.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional

from zimage_app.domain.errors import ModelError, system_reason
from zimage_app.domain.text import Text
from zimage_app.models.disk.regular_file import read_regular

MAX_BYTES = 512 * 2**20
"""Maximum bytes of a file, and of its unpacked contents; the usual files have 67 million."""
_RDBS = 3
"""Residual dense blocks of an RRDB."""
_CONVS = 5
_RESIDUAL = 0.2
_SLOPE = 0.2
_CHANNELS = 3
_WRAPPERS = ("params_ema", "params", "state_dict", "model")
"""Keys under which training programs store the weights; ``params_ema`` is preferred to ``params``."""
_NAMES = (
    (r"^RRDB_trunk\.(\d+)\.RDB(\d)\.", r"body.\1.rdb\2."),
    (r"^trunk_conv\.", "conv_body."),
    (r"^upconv(\d)\.", r"conv_up\1."),
    (r"^HRconv\.", "conv_hr."),
    (r"^model\.0\.", "conv_first."),
    (r"^model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0\.", r"body.\1.rdb\2.conv\3."),
    (r"^model\.1\.sub\.\d+\.", "conv_body."),
)
"""Other programs' layer names -> Real-ESRGAN's."""
_NUMBERED = re.compile(r"model\.(\d+)\.(weight|bias)")
"""Matches numbered layers after the blocks: those that double the size, then two more."""


@dataclass(frozen=True, slots=True)
class UpscalerModel:
    """An upscaling model on the CPU."""

    network: nn.Module
    """(1, 3, h, w) in 0…1 -> (1, 3, scale h, scale w)."""
    scale: int
    sha256: str
    """Hash of the model's file."""


def read_upscaler(path: Path) -> UpscalerModel:
    """Read an ESRGAN model; a ``.pth`` is unpickled safely, as tensors and plain values only.

    Raises:
        ModelError: the file can't be read, is too large, is damaged, or holds another kind of model.
    """
    try:
        data = read_regular(path, MAX_BYTES)
    except OSError as error:
        reason = system_reason(error)
        raise _refused(path, f"cannot be read ({reason})", f"无法读取（{reason}）") from error
    tensors = _named(_tensors(path, data))
    try:
        network, scale = _network(tensors)
    except (KeyError, RuntimeError, ValueError) as error:
        raise _refused(
            path,
            "is no upscaler of the ESRGAN kind (RRDBNet, 2x to 8x); others can't be read, choose another file",
            "不是 ESRGAN 类（RRDBNet，2 到 8 倍）的放大模型；其他类型无法读取，请换一个文件",
        ) from error
    return UpscalerModel(network, scale, hashlib.sha256(data).hexdigest())


class _DenseBlock(nn.Module):
    """A residual dense block: five convolutions, each of which reads the input and all earlier outputs."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        for number in range(_CONVS):
            out = features if number == _CONVS - 1 else growth
            self.add_module(f"conv{number + 1}", _conv(features + number * growth, out))

    def forward(self, x: Tensor) -> Tensor:
        """(1, features, h, w) -> the same shape."""
        made = x
        for number, conv in enumerate(self.children()):
            last = number == _CONVS - 1
            new = conv(made)
            made = new if last else torch.cat([made, functional.leaky_relu(new, _SLOPE)], 1)
        return x + _RESIDUAL * made


class _Block(nn.Module):
    """Three residual dense blocks inside a residual (RRDB)."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        for number in range(_RDBS):
            self.add_module(f"rdb{number + 1}", _DenseBlock(features, growth))

    def forward(self, x: Tensor) -> Tensor:
        """(1, features, h, w) -> the same shape."""
        made = x
        for block in self.children():
            made = block(made)
        return x + _RESIDUAL * made


class _RRDBNet(nn.Module):
    """The whole network."""

    def __init__(self, shuffle: int, features: int, growth: int, blocks: int, doublings: int) -> None:
        """``shuffle`` is the factor of the pixel-unshuffle; 1 without one."""
        super().__init__()
        self._shuffle = shuffle
        self._doublings = doublings
        self.conv_first = _conv(_CHANNELS * shuffle**2, features)
        self.body = nn.Sequential(*(_Block(features, growth) for _ in range(blocks)))
        self.conv_body = _conv(features, features)
        for number in range(doublings):
            self.add_module(f"conv_up{number + 1}", _conv(features, features))
        self.conv_hr = _conv(features, features)
        self.conv_last = _conv(features, _CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        """See ``UpscalerModel.network``."""
        height, width = x.shape[-2:]
        scale = 2**self._doublings // self._shuffle
        if self._shuffle > 1:
            mode = "reflect" if min(height, width) >= self._shuffle else "replicate"
            x = functional.pad(x, (0, -width % self._shuffle, 0, -height % self._shuffle), mode)
            x = functional.pixel_unshuffle(x, self._shuffle)
        x = self.conv_first(x)
        x = x + self.conv_body(self.body(x))
        for number in range(self._doublings):
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = functional.leaky_relu(self.get_submodule(f"conv_up{number + 1}")(x), _SLOPE)
        x = self.conv_last(functional.leaky_relu(self.conv_hr(x), _SLOPE))
        return x[..., : height * scale, : width * scale]


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size=3, padding=1)


def _network(tensors: Mapping[str, Tensor]) -> tuple[nn.Module, int]:
    """Build the network of these weights; return it and its scale.

    Raises:
        KeyError, RuntimeError, ValueError: the weights belong to another network.
    """
    first = tensors["conv_first.weight"]
    growth = tensors["body.0.rdb1.conv1.weight"].shape[0]
    blocks = len({name.split(".")[1] for name in tensors if name.startswith("body.")})
    doublings = sum(re.fullmatch(r"conv_up\d\.weight", name) is not None for name in tensors)
    shuffle = math.isqrt(first.shape[1] // _CHANNELS)
    scale, rest = divmod(2**doublings, max(1, shuffle))
    if rest or not 2 <= scale <= 8:
        raise ValueError("no scale of an upscaler")
    with torch.device("meta"):  # takes no memory, whatever sizes the file claims; loading checks the weights' shapes
        network = _RRDBNet(shuffle, first.shape[0], growth, blocks, doublings)
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)
    return network.eval().requires_grad_(False), scale


def _named(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename weights to Real-ESRGAN's names."""
    named: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        for theirs, ours in _NAMES:
            name = re.sub(theirs, ours, name)
        named[name] = tensor
    places = sorted({int(found[1]) for name in named if (found := _NUMBERED.fullmatch(name))})
    layers = [*(f"conv_up{number}" for number in range(1, len(places) - 1)), "conv_hr", "conv_last"]
    layer_of = dict(zip(places, layers, strict=False))
    return {
        f"{layer_of[int(found[1])]}.{found[2]}" if (found := _NUMBERED.fullmatch(name)) else name: tensor
        for name, tensor in named.items()
    }


def _tensors(path: Path, data: bytes) -> dict[str, Tensor]:
    """Return the weights in a file; raises ModelError."""
    try:
        found = safetensors.torch.load(data) if path.suffix.lower() == ".safetensors" else _unpickled(path, data)
        for wrapper in _WRAPPERS:
            found = inner if isinstance(inner := found.get(wrapper), dict) else found
        weights = {str(name): value for name, value in found.items() if isinstance(value, Tensor)}
    except ModelError:
        raise
    except Exception as error:
        raise _refused(
            path, "is damaged, or no file of weights; download it again", "已损坏或不是权重文件；请重新下载"
        ) from error
    if sum(tensor.numel() * tensor.element_size() for tensor in weights.values()) > MAX_BYTES:
        raise _too_large(path)
    return weights


def _unpickled(path: Path, data: bytes) -> dict[str, Any]:
    """Load a ``.pth`` with PyTorch's safe reader, which creates only tensors and plain values; raises ModelError."""
    file = io.BytesIO(data)
    if zipfile.is_zipfile(file) and sum(each.file_size for each in zipfile.ZipFile(file).infolist()) > MAX_BYTES:
        raise _too_large(path)
    loaded: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return loaded


def _too_large(path: Path) -> ModelError:
    size = f"{MAX_BYTES >> 20} MB"
    return _refused(path, f"unpacks to more than {size}; choose another file", f"解包后超过 {size}；请换一个文件")


def _refused(path: PurePath, en: str, zh: str) -> ModelError:
    return ModelError(Text(f"{path.name} {en}.", f"{path.name} {zh}。"))
