"""Sampler nodes as stages: which sampler, schedule, steps, cfg, denoise, seed, model and conditionings each one has.

KSampler and what has its fields, KSamplerAdvanced, SamplerCustom, SamplerCustomAdvanced with its guider and noise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from zimage_app.domain.request import Stage, knob_of
from zimage_app.domain.text import Text
from zimage_app.service.imports.comfy.graph import Graph, Link, Node, origin, source, value
from zimage_app.service.imports.draft import Draft, of_stage, shown
from zimage_app.service.imports.infotext import unknown_name
from zimage_app.service.imports.names import sampler_and_scheduler, scheduler

FLOW_MATCH = "FlowMatchEulerDiscreteScheduler (Custom)"
_FLOW_KINDS = (
    ("use_karras_sigmas", "flow_match_karras"),
    ("use_exponential_sigmas", "flow_match_exponential"),
    ("use_beta_sigmas", "flow_match_beta"),
)
_PLAIN_SAMPLERS = {
    "SamplerEulerAncestral": "euler_ancestral",
    "SamplerDPMPP_2S_Ancestral": "dpmpp_2s_ancestral",
    "SamplerDPMPP_SDE": "dpmpp_sde",
    "SamplerDPMPP_2M_SDE": "dpmpp_2m_sde",
    "SamplerDPMPP_3M_SDE": "dpmpp_3m_sde",
    "SamplerER_SDE": "er_sde",
    "SamplerLMS": "lms",
    "SamplerLCM": "lcm",
}
_OPTIONS = ("eta", "s_noise", "r", "solver_type")
_SIGMA_NODES = {"KarrasScheduler": "karras", "ExponentialScheduler": "exponential"}


@dataclass(slots=True)
class Pass:
    """One sampler node, read."""

    node: Node
    settings: dict[str, Any] = field(default_factory=dict)
    """Fields of a stage, as they stand in the file."""
    model: Link | None = None
    schedule_model: Link | None = None
    """The model whose shift the schedule is made with, where it is not the sampler's."""
    own_shift: bool = False
    """Whether the schedule has a shift of its own, whatever the model's."""
    positive: Link | None = None
    negative: Link | None = None
    latent: Link | None = None


def is_sampler(node: Node) -> bool:
    """Whether a node draws: it has a latent to start from, and steps or sigmas."""
    names = {*node.values, *node.links}
    has_latent = bool({"latent_image", "latent", "samples"} & set(node.links))
    return has_latent and ({"steps", "sampler_name"} <= names or {"sampler", "sigmas"} <= names)


def read_sampler(graph: Graph, node: Node, draft: Draft, number: int) -> Pass:
    """One sampler as stage ``number``, counted from 0."""
    done = Pass(node, latent=source(graph, node, ("latent_image", "latent", "samples")))
    guider = origin(graph, node, "guider")
    if guider is not None:
        done.model = source(graph, guider, ("model",))
        done.positive = source(graph, guider, ("positive", "conditioning", "cond1"))
        done.negative = source(graph, guider, ("negative",))
        cfg = value(graph, guider, "cfg")
        done.settings["cfg"] = 1.0 if cfg is None else cfg
        if guider.kind not in ("BasicGuider", "CFGGuider"):
            draft.left.append(lost(guider, Text("this way of guidance does not exist here", "这里没有这种引导方式")))
    else:
        done.model = source(graph, node, ("model",))
        done.positive = source(graph, node, ("positive",))
        done.negative = source(graph, node, ("negative",))
        _keep(done, graph, node, "cfg", "cfg")
    _seed(graph, node, done, draft)
    if {"sampler", "sigmas"} & set(node.links):
        _custom(graph, node, done, draft, number)
    else:
        _plain(graph, node, done, draft, number)
    return done


def _keep(done: Pass, graph: Graph, node: Node, theirs: str, ours: str) -> None:
    found = value(graph, node, theirs)
    if found is not None:
        done.settings[ours] = found


def _seed(graph: Graph, node: Node, done: Pass, draft: Draft) -> None:
    noise = origin(graph, node, "noise") or node
    seed = value(graph, noise, "seed", "noise_seed")
    if seed is not None:
        done.settings["seed"] = seed
    if noise.kind == "DisableNoise" or value(graph, node, "add_noise") in ("disable", False):
        draft.left.append(
            lost(node, Text("it adds no noise; a stage here always does", "它不加噪声；这里的阶段总会加噪声"))
        )


def _plain(graph: Graph, node: Node, done: Pass, draft: Draft, number: int) -> None:
    """KSampler, KSamplerAdvanced, and nodes of others with the same fields."""
    _name_sampler(done, draft, number, value(graph, node, "sampler_name"))
    _name_schedule(done, draft, number, value(graph, node, "scheduler"))
    _keep(done, graph, node, "steps", "steps")
    _keep(done, graph, node, "denoise", "denoise")
    if node.kind == "KSamplerAdvanced":
        _part(graph, node, done, draft, number)


def _part(graph: Graph, node: Node, done: Pass, draft: Draft, number: int) -> None:
    """KSamplerAdvanced runs a part of its steps: from a later start it is a denoise below 1."""
    steps, start, end = (value(graph, node, name) for name in ("steps", "start_at_step", "end_at_step"))
    if not isinstance(steps, int) or not 0 < steps < 10_000:
        return
    if isinstance(end, int) and end < steps:
        reason = Text(
            f"it stops after {end} of {steps} steps; a stage here always runs to the end",
            f"它在 {steps} 步中的第 {end} 步停止；这里的阶段总会跑完",
        )
        draft.left.append(lost(node, reason))
    if isinstance(start, int) and 0 < start < steps:
        left = steps - start
        done.settings |= {"steps": left, "denoise": _denoise(left, steps)}
        title = of_stage(number, knob_of(Stage, "denoise").title)
        draft.turn(title, f"start_at_step {start}/{steps}", f"{left} × denoise {done.settings['denoise']:g}")


def _denoise(left: int, steps: int) -> float:
    """The denoise that keeps ``left`` of ``steps`` steps, by ComfyUI's rule ``int(left / denoise)``."""
    denoise = left / steps
    while int(left / denoise) < steps:  # the division may come out a last digit short
        denoise -= 1e-12
    return denoise


def _custom(graph: Graph, node: Node, done: Pass, draft: Draft, number: int) -> None:
    sampler, sigmas = origin(graph, node, "sampler"), origin(graph, node, "sigmas")
    if sampler is not None:
        _sampler_node(graph, sampler, done, draft, number)
    if sigmas is not None:
        _sigma_node(graph, sigmas, done, draft, number)


def _sampler_node(graph: Graph, node: Node, done: Pass, draft: Draft, number: int) -> None:
    if node.kind not in _PLAIN_SAMPLERS:
        named = value(graph, node, "sampler_name")
        _name_sampler(done, draft, number, node.kind if named is None else named)
        return
    name = _PLAIN_SAMPLERS[node.kind]
    on_gpu = value(graph, node, "noise_device") == "gpu"
    done.settings["sampler"] = f"{name}_gpu" if on_gpu else name
    for option in _OPTIONS:
        if option != "solver_type" or node.kind == "SamplerDPMPP_2M_SDE":
            _keep(done, graph, node, option, option)


def _sigma_node(graph: Graph, node: Node, done: Pass, draft: Draft, number: int) -> None:
    _keep(done, graph, node, "steps", "steps")
    if node.kind == FLOW_MATCH:
        _flow_match(graph, node, done, draft)
    elif node.kind == "BasicScheduler" or "scheduler" in node.values:
        done.schedule_model = source(graph, node, ("model",))
        _name_schedule(done, draft, number, value(graph, node, "scheduler"))
        _keep(done, graph, node, "denoise", "denoise")
    elif node.kind == "BetaSamplingScheduler":
        done.schedule_model = source(graph, node, ("model",))
        done.settings["scheduler"] = "beta"
        if (value(graph, node, "alpha"), value(graph, node, "beta")) != (0.6, 0.6):
            draft.left.append(lost(node, Text("alpha and beta are 0.6 here", "这里的 alpha 和 beta 固定为 0.6")))
    elif node.kind in _SIGMA_NODES:
        done.settings["scheduler"] = _SIGMA_NODES[node.kind]
        draft.left.append(
            lost(
                node,
                Text(
                    "its sigma_min, sigma_max and rho are the model's own here",
                    "这里的 sigma_min、sigma_max 和 rho 由模型决定",
                ),
            )
        )
    else:
        unknown_name(draft, number, "scheduler", node.kind)


def _flow_match(graph: Graph, node: Node, done: Pass, draft: Draft) -> None:
    """The node's list, whose shift is its own field's (workflow.md section 3)."""
    kinds = [ours for theirs, ours in _FLOW_KINDS if value(graph, node, theirs) in ("enable", True)]
    done.settings["scheduler"] = kinds[0] if kinds else "flow_match"
    done.own_shift = True
    _keep(done, graph, node, "shift", "shift")
    steps = value(graph, node, "steps")
    end = value(graph, node, "end_at_step")
    cut = (isinstance(end, int) and isinstance(steps, int) and end < steps) or value(
        graph, node, "start_at_step"
    ) not in (None, 0)
    unusual = [
        name
        for name, usual in (
            ("invert_sigmas", ("disable", False, None)),
            ("use_dynamic_shifting", ("disable", False, None)),
            ("stochastic_sampling", ("disable", False, None)),
            ("shift_terminal", (0, None)),
            ("num_train_timesteps", (1000, None)),
        )
        if value(graph, node, name) not in usual
    ]
    unusual += ["start_at_step/end_at_step"] if cut else []
    for name in unusual:
        draft.left.append(lost(node, Text(f"{name} does not exist here", f"这里没有 {name}")))


def _name_sampler(done: Pass, draft: Draft, number: int, name: object) -> None:
    found = sampler_and_scheduler(name) if isinstance(name, str) else None
    if found is None:
        if name is not None:
            unknown_name(draft, number, "sampler", name)
        return
    done.settings["sampler"] = found[0]
    if found[0] != name:
        draft.turn(of_stage(number, knob_of(Stage, "sampler").title), name, found[0])


def _name_schedule(done: Pass, draft: Draft, number: int, name: object) -> None:
    ours = scheduler(name) if isinstance(name, str) else None
    if ours is None:
        if name is not None:
            unknown_name(draft, number, "scheduler", name)
        return
    done.settings["scheduler"] = ours
    if ours != name:
        draft.turn(of_stage(number, knob_of(Stage, "scheduler").title), name, ours)


def lost(node: Node, reason: Text) -> Text:
    """A node's line in the list of what stays behind."""
    return Text(f"{shown(node.name)}: {reason.en}", f"{shown(node.name)}：{reason.zh}")
