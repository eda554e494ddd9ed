"""Measures pictures per minute of a local Ray cluster with one and with two workers; demo model on the CPU.

python -m benchmarks.cluster [--pictures 8]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from zimage_app.domain.request import GenerationRequest
from zimage_app.domain.settings.stage import Stage
from zimage_app.service.jobs.runners.cluster.ray_cluster import RayHandle
from zimage_app.service.jobs.runners.cluster.runner import ClusterRunner
from zimage_app.service.jobs.runners.remote import RemoteDependencies
from zimage_app.service.jobs.runners.runner import Runner
from zimage_app.service.setup.config import StudioConfig
from zimage_app.service.studio import Studio

STAGES = (Stage(width=256, height=320, steps=8, cfg=4.0),)


class ClusterStudio(Studio):
    """A studio with ``workers`` workers on this machine's CPU."""

    workers = 1

    def _all_runners(self) -> list[Runner]:
        dependencies = RemoteDependencies(self.plan, self._source, self.loras, self.inputs, self._gallery)
        cache = str(self._config.outputs / "cache")
        handles = [RayHandle(gpu=False, arguments=(cache, "cpu", StudioConfig())) for _ in range(self.workers)]
        return [ClusterRunner(dependencies, handle, f"worker-{number + 1}") for number, handle in enumerate(handles)]


def per_minute(workers: int, pictures: int) -> float:
    """Pictures per minute, after each worker has loaded the model."""
    ClusterStudio.workers = workers
    requests = [GenerationRequest(prompt="a red boat", seed=seed, stages=STAGES) for seed in range(pictures)]
    with tempfile.TemporaryDirectory() as folder, closing(_studio(Path(folder))) as studio:
        _make(studio, requests[:workers])
        begun = time.monotonic()
        _make(studio, requests)
        return pictures * 60.0 / (time.monotonic() - begun)


def _studio(outputs: Path) -> ClusterStudio:
    return ClusterStudio(StudioConfig(outputs=outputs, model="demo", offline=True))


def _make(studio: Studio, requests: list[GenerationRequest]) -> None:
    for job in [studio.submit(request, "demo") for request in requests]:
        view = studio.wait(job, -1, 0.0)
        while not view.ended:
            view = studio.wait(job, view.version, 1.0)
        if view.error is not None:
            raise view.error


def main() -> None:
    """Print a line for each number of workers."""
    import ray

    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=int, default=8)
    pictures = parser.parse_args().pictures
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    for workers in (1, 2):
        sys.stdout.write(f"{workers}: {per_minute(workers, pictures):.1f} pictures per minute\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
