"""Creates remote runners: a table of factory functions by kind. ``studio.py`` creates the local ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from zimage_app.service.jobs.runners.comfyui.runner import ComfyRunner
from zimage_app.service.jobs.runners.remote import RemoteDependencies
from zimage_app.service.jobs.runners.runner import Runner


def _comfyui(dependencies: RemoteDependencies, addresses: Sequence[str]) -> list[Runner]:
    return [ComfyRunner(dependencies, address) for address in addresses]


def _ray(dependencies: RemoteDependencies, addresses: Sequence[str]) -> list[Runner]:
    from zimage_app.service.jobs.runners.cluster.ray_cluster import cluster_runners  # needs an extra package

    return cluster_runners(dependencies, addresses[0])


KINDS: dict[str, Callable[[RemoteDependencies, Sequence[str]], list[Runner]]] = {"comfyui": _comfyui, "ray": _ray}
"""Kind of a remote runner -> a function that creates one per address; raises ModelError if they can't be used."""
