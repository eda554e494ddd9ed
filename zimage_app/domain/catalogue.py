"""What the samplers are called and what the plan must know of them. Knows no arithmetic: that is in the engine.

The engine's ``SAMPLERS`` table has exactly these names; a test holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass, field

_NONE: frozenset[str] = frozenset()
_ANCESTRAL = frozenset({"eta", "s_noise"})


@dataclass(frozen=True, slots=True)
class SamplerTraits:
    """Facts about a sampler that do not need its formula."""

    evaluations: int = 1
    """Model evaluations per step (the last step, to sigma 0, takes one)."""
    options: frozenset[str] = field(default=_NONE)
    """The stage's options that this sampler reads: eta, s_noise, r, solver_type."""
    discards_penultimate: bool = False
    """Its schedule is computed with one more step and the last non-zero sigma dropped (workflow.md section 3)."""


SAMPLER_TRAITS: dict[str, SamplerTraits] = {
    "euler": SamplerTraits(),
    "euler_ancestral": SamplerTraits(options=_ANCESTRAL),
    "heun": SamplerTraits(evaluations=2),
    "dpm_2": SamplerTraits(evaluations=2, discards_penultimate=True),
    "lcm": SamplerTraits(),
    "dpmpp_2m": SamplerTraits(),
    "dpmpp_sde": SamplerTraits(evaluations=2, options=frozenset({"eta", "s_noise", "r"})),
    "dpmpp_2m_sde": SamplerTraits(options=frozenset({"eta", "s_noise", "solver_type"})),
    "dpmpp_3m_sde": SamplerTraits(options=_ANCESTRAL),
    "res_multistep": SamplerTraits(),
    "er_sde": SamplerTraits(options=frozenset({"s_noise"})),
    "uni_pc": SamplerTraits(discards_penultimate=True),
}
