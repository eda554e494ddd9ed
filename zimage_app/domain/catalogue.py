"""Names of the samplers and hand-over rules, with the traits that a plan needs.

The engine's tables ``SAMPLERS`` and ``HANDOVERS`` hold the arithmetic under the same names; tests compare them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

_NONE: frozenset[str] = frozenset()
_ANCESTRAL = frozenset({"eta", "s_noise"})


@dataclass(frozen=True, slots=True)
class SamplerTraits:
    """Traits of a sampler that a plan needs, without its formula."""

    evaluations: int = 1
    """Model evaluations per step."""
    ending: tuple[int, ...] = (1,)
    """Model evaluations of the last steps, which differ from the others: the step to sigma 0 takes one."""
    options: frozenset[str] = field(default=_NONE)
    """The stage's options that this sampler reads: eta, s_noise, r, solver_type."""
    discards_penultimate: bool = False
    """Compute the schedule for one more step, then drop the last sigma above 0 (HOW-IT-COMPUTES.md section 3)."""


_2M_SDE = frozenset({"eta", "s_noise", "solver_type"})
_SDE = SamplerTraits(evaluations=2, options=frozenset({"eta", "s_noise", "r"}))

SAMPLER_TRAITS: dict[str, SamplerTraits] = {
    "euler": SamplerTraits(),
    "euler_ancestral": SamplerTraits(options=_ANCESTRAL),
    "heun": SamplerTraits(evaluations=2),
    "heunpp2": SamplerTraits(evaluations=3, ending=(2, 1)),
    "dpm_2": SamplerTraits(evaluations=2, discards_penultimate=True),
    "dpm_2_ancestral": SamplerTraits(evaluations=2, options=_ANCESTRAL, discards_penultimate=True),
    "lms": SamplerTraits(),
    "dpmpp_2s_ancestral": SamplerTraits(evaluations=2, options=_ANCESTRAL),
    "dpmpp_sde": _SDE,
    "dpmpp_sde_gpu": _SDE,
    "dpmpp_2m": SamplerTraits(),
    "dpmpp_2m_sde": SamplerTraits(options=_2M_SDE),
    "dpmpp_2m_sde_gpu": SamplerTraits(options=_2M_SDE),
    "dpmpp_2m_sde_heun": SamplerTraits(options=_ANCESTRAL),
    "dpmpp_2m_sde_heun_gpu": SamplerTraits(options=_ANCESTRAL),
    "dpmpp_3m_sde": SamplerTraits(options=_ANCESTRAL),
    "dpmpp_3m_sde_gpu": SamplerTraits(options=_ANCESTRAL),
    "ddpm": SamplerTraits(),
    "lcm": SamplerTraits(),
    "ipndm": SamplerTraits(),
    "ipndm_v": SamplerTraits(),
    "deis": SamplerTraits(),
    "res_multistep": SamplerTraits(),
    "res_multistep_ancestral": SamplerTraits(options=_ANCESTRAL),
    "gradient_estimation": SamplerTraits(),
    "er_sde": SamplerTraits(options=frozenset({"s_noise"})),
    "seeds_2": SamplerTraits(evaluations=2, options=_ANCESTRAL),
    "seeds_3": SamplerTraits(evaluations=3, options=_ANCESTRAL),
    "exp_heun_2_x0": SamplerTraits(evaluations=2),
    "exp_heun_2_x0_sde": SamplerTraits(evaluations=2, options=_ANCESTRAL),
    "ddim": SamplerTraits(),
    "uni_pc": SamplerTraits(discards_penultimate=True),
    "uni_pc_bh2": SamplerTraits(discards_penultimate=True),
}
"""In ComfyUI's order. Not supported: the ``_cfg_pp`` samplers, whose step needs the unguided prediction; ``dpm_fast``
and ``dpm_adaptive``, which stop before sigma 0; the two ``sa_solver``."""


@dataclass(frozen=True, slots=True)
class HandoverTraits:
    """Traits of a hand-over rule: how a stage takes over from the previous one."""

    continues: bool = False
    """True: the stage continues the previous stage's unfinished trajectory. False: it noises a finished latent."""
    options: frozenset[str] = field(default=_NONE)
    """The stage's options that this rule reads: upscale, denoise, delta."""


HANDOVER_TRAITS: dict[str, HandoverTraits] = {
    "resize": HandoverTraits(options=frozenset({"upscale", "denoise"})),
    "spectral": HandoverTraits(continues=True, options=frozenset({"delta"})),
}

STAGE_OPTIONS = frozenset[str]().union(
    *(sampler.options for sampler in SAMPLER_TRAITS.values()), *(rule.options for rule in HANDOVER_TRAITS.values())
)
"""Options that some samplers or hand-over rules read and others don't."""


def unread_options(sampler: str, handover: str) -> frozenset[str]:
    """The stage options that neither this sampler nor this hand-over rule reads."""
    return STAGE_OPTIONS - SAMPLER_TRAITS[sampler].options - HANDOVER_TRAITS[handover].options
