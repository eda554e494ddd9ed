"""Latents to pictures."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.models.stock import normal, rel
from zimage_app.models.networks.autoencoder import Doubling
from zimage_app.models.networks.networks import VAE
from zimage_app.models.networks.vae import VaeCodec
from zimage_app.models.tiny import TINY_VAE


@pytest.fixture
def vae() -> Any:
    """A small autoencoder with random weights."""
    from diffusers import AutoencoderKL

    with torch.random.fork_rng():
        torch.manual_seed(2)
        return AutoencoderKL(**TINY_VAE).eval().requires_grad_(False)


def test_decodes_the_latent_as_it_is(vae: Any) -> None:
    latent = normal(1, 16, 6, 10)
    plain = vae.decode(latent, return_dict=False)[0]
    wanted = ((plain[0] + 1.0) / 2.0).clamp(0.0, 1.0).permute(1, 2, 0)
    picture = VaeCodec(vae).decode(latent)
    assert picture.shape == (48, 80, 3)
    assert picture.dtype == torch.float32
    assert picture.is_contiguous()
    assert rel(picture, wanted) < 1e-5
    scaled = vae.decode(latent / 0.3611 + 0.1159, return_dict=False)[0]
    assert rel((scaled[0].permute(1, 2, 0) + 1.0) / 2.0, wanted) > 1e-2


WIDE: dict[str, Any] = TINY_VAE | {
    "block_out_channels": [8, 16, 16, 32],
    "norm_num_groups": 4,
    "layers_per_block": 2,
    "mid_block_add_attention": True,
    "use_quant_conv": True,
    "use_post_quant_conv": True,
}


@pytest.mark.parametrize("config", [TINY_VAE, WIDE], ids=["tiny", "with attention and shortcuts"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_own_forward_is_diffusers_bit_by_bit(config: dict[str, Any], layout: torch.memory_format) -> None:
    from diffusers import AutoencoderKL

    with torch.random.fork_rng():
        torch.manual_seed(2)
        stock: Any = AutoencoderKL(**config).eval().requires_grad_(False)
    own = VAE.build_empty(config)
    own.load_state_dict(stock.state_dict(), strict=True, assign=True)
    latent = normal(1, 16, 6, 10)
    kept = latent.clone()
    with torch.no_grad():
        wanted = stock.decoder.to(memory_format=layout)(latent)
        picture = own.decoder.to(memory_format=layout)(latent)
        assert torch.equal(picture, wanted)
        assert torch.equal(own.encoder(picture), stock.encoder(picture))
    assert torch.equal(latent, kept)


def test_enlarging_and_convolving_in_one_step_changes_only_the_rounding() -> None:
    layer = Doubling(6)
    x = normal(1, 6, 5, 7)
    with torch.no_grad():
        wanted = layer(x)
        layer.join()
        found = layer(x)
    assert not torch.equal(found, wanted), "it is computed another way"
    assert rel(found, wanted) < 5e-7
    shown = VaeCodec(VAE.build_empty(WIDE).to_empty(device="cpu"))
    joined = [each._joined is not None for each in shown.module.decoder.modules() if isinstance(each, Doubling)]
    assert joined == [True] * 3


def test_clamps_to_colours(vae: Any) -> None:
    vae.decoder.conv_out.weight.mul_(1e3)
    picture = VaeCodec(vae).decode(normal(1, 16, 4, 4))
    assert picture.min() == 0.0
    assert picture.max() == 1.0


def test_takes_float32_latents_in_bfloat16(vae: Any) -> None:
    exact = VaeCodec(vae).decode(normal(1, 16, 4, 4))
    rough = VaeCodec(vae.to(torch.bfloat16)).decode(normal(1, 16, 4, 4))
    assert rough.dtype == torch.float32
    assert 0.0 < rel(rough, exact) < 3e-2


def test_tiles_give_the_whole_picture_with_little_difference(vae: Any) -> None:
    codec = VaeCodec(vae)
    small = normal(1, 16, 48, 20)
    assert torch.equal(codec.decode_tiled(small), codec.decode(small)), "one tile is the whole"
    large = normal(1, 16, 60, 100)
    whole, tiled = codec.decode(large), codec.decode_tiled(large)
    assert tiled.shape == whole.shape == (480, 800, 3)
    assert 0.0 < rel(tiled, whole) < 0.1
    assert torch.equal(codec.decode(large), whole), "the next picture is decoded whole again"


def test_encodes_the_mean_in_the_latents_own_space(vae: Any) -> None:
    picture = torch.rand(48, 80, 3, generator=torch.Generator().manual_seed(4))
    latent = VaeCodec(vae).encode(picture)
    assert latent.shape == (1, 16, 6, 10)
    assert latent.dtype == torch.float32
    wanted = vae.encode(picture.permute(2, 0, 1)[None] * 2.0 - 1.0).latent_dist.mode()
    assert rel(latent, wanted) < 1e-5
    rough = VaeCodec(vae.to(torch.bfloat16)).encode(picture)
    assert rough.dtype == torch.float32
    assert 0.0 < rel(rough, latent) < 5e-2


def test_pictures_come_back_from_where_they_were_encoded_after_a_decode_too(vae: Any) -> None:
    codec = VaeCodec(vae)
    picture = torch.rand(32, 32, 3, generator=torch.Generator().manual_seed(4))
    before = codec.encode(picture)
    codec.decode(before)
    assert torch.equal(codec.encode(picture), before)
