"""LPIPS, the learned perceptual distance of two pictures (Zhang et al. 2018, arXiv 1801.03924).

Needs the package ``lpips`` and AlexNet's weights; downloads nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from zimage_app.domain.events import Picture
from zimage_app.domain.text import Text

Metric = Callable[[Picture, Picture], float]

_BACKBONE = "alexnet-owt-7be5be79.pth"
"""torchvision's file name of AlexNet's weights; the package ``lpips`` would download them if they were missing."""


def perceptual_distance() -> Metric | Text:
    """Return LPIPS with AlexNet (0 for equal (h, w, 3) pictures, about 1 for unlike ones), or why it's unavailable."""
    try:
        import lpips
    except ImportError:
        return Text(
            "LPIPS is left out: the package lpips is not installed (pip install lpips).",
            "未计算 LPIPS：没有安装 lpips 包（pip install lpips）。",
        )
    import torch

    weights = Path(torch.hub.get_dir()) / "checkpoints" / _BACKBONE
    if not weights.is_file():
        return Text(
            f"LPIPS is left out: AlexNet's weights are not here, and nothing is fetched; put {_BACKBONE} into"
            f" {weights.parent}.",
            f"未计算 LPIPS：缺少 AlexNet 权重，程序不会自动下载；请将 {_BACKBONE} 放入 {weights.parent}。",
        )
    model = lpips.LPIPS(net="alex", verbose=False).eval()

    def tensor(picture: Picture) -> torch.Tensor:
        """(1, 3, h, w), -1 to 1."""
        return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1

    @torch.inference_mode()
    def distance(first: Picture, second: Picture) -> float:
        return float(model(tensor(first), tensor(second)))

    return distance
