"""Roles: functions that compute a node's outputs from its inputs. A node class names its role in its catalogue row."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from zimage_app.service.imports.comfy.node_call import NodeCall
from zimage_app.service.imports.comfy.roles import (
    conditioning,
    guidance,
    loaders,
    loras,
    models,
    numbers,
    pictures,
    samplers,
    schedules,
    sizes,
    starts,
    switches,
    texts,
)
from zimage_app.service.imports.comfy.values import Value

Role = Callable[[NodeCall], Mapping[str, Value]]

ROLES: dict[str, Role] = {
    **switches.ROLES,
    **texts.ROLES,
    **numbers.ROLES,
    **sizes.ROLES,
    **models.ROLES,
    **loras.ROLES,
    **conditioning.ROLES,
    **guidance.ROLES,
    **loaders.ROLES,
    **pictures.ROLES,
    **starts.ROLES,
    **schedules.ROLES,
    **samplers.ROLES,
}
