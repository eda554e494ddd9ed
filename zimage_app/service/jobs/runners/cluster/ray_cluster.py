"""Creates a Ray cluster's workers: an actor per GPU, or a single one without GPUs. The only module that uses Ray."""

from __future__ import annotations

from typing import Any

from zimage_app.domain.errors import ModelError
from zimage_app.domain.text import Text
from zimage_app.service.jobs.runners.cluster.runner import CACHE, ClusterRunner
from zimage_app.service.jobs.runners.cluster.worker import Worker
from zimage_app.service.jobs.runners.remote import RemoteDependencies, Unreachable
from zimage_app.service.jobs.runners.runner import Runner

_TIMEOUT = 600.0
"""Seconds to wait for a worker's response; a restarted worker has to import torch first."""


def cluster_runners(dependencies: RemoteDependencies, address: str) -> list[Runner]:
    """Return a runner per GPU of the cluster at ``address`` (``auto`` or ``ray://host:port``), or one without GPUs.

    Raises:
        ModelError: Ray isn't installed, or there is no cluster at the address.
    """
    ray = _ray()
    try:
        if not ray.is_initialized():
            ray.init(address=address, log_to_driver=False, namespace="zimage-studio")
    except (ConnectionError, ray.exceptions.RayError) as error:
        raise ModelError(
            Text(
                f"There is no Ray cluster at {address} ({error}); start one with ray start --head.",
                f"{address} 没有 Ray 集群（{error}）；请用 ray start --head 启动。",
            )
        ) from error
    gpus = int(ray.cluster_resources().get("GPU", 0))
    return [ClusterRunner(dependencies, RayHandle(gpu=gpus > 0), f"worker-{n + 1}") for n in range(max(1, gpus))]


class RayHandle:
    """A worker as an actor, which Ray restarts if it or its machine is lost."""

    def __init__(self, *, gpu: bool, arguments: tuple[Any, ...] = (CACHE,)) -> None:
        self._ray = _ray()
        needs = {"num_gpus": 1} if gpu else {"num_cpus": 1}
        actor = self._ray.remote(Worker).options(max_restarts=-1, max_concurrency=4, **needs)
        self.actor = actor.remote(*arguments)

    def ask(self, method: str, *arguments: Any) -> Any:
        """See ``WorkerHandle.ask``."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(getattr(self.actor, method).remote(*arguments), timeout=_TIMEOUT)
        except errors.RayTaskError:
            raise
        except errors.RayError as error:
            raise Unreachable(type(error).__name__) from error

    def share(self, data: bytes) -> Any:
        """See ``WorkerHandle.share``."""
        return self._ray.put(data)


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ModelError(
            Text(
                'Ray is not installed: pip install ".[cluster]", or "ray>=2.60,<3".',
                '未安装 Ray：请运行 pip install ".[cluster]" 或 "ray>=2.60,<3"。',
            )
        ) from error
    return ray
