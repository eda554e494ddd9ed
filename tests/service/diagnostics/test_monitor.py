"""The machine's figures: containers with limits, NVIDIA's library, what is lacking."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import psutil
import pytest

from zimage_app.service.diagnostics.cgroups import ControlGroups
from zimage_app.service.diagnostics.gpus import Amount, GpuStatus, NvidiaGpus
from zimage_app.service.diagnostics.monitor import Monitor, free_disk

MEBIBYTE = 1 << 20


class NvmlError(Exception):
    """As NVIDIA's library raises them."""


@dataclass
class FakeNvml:
    """NVIDIA's library on a machine with these GPUs; ``mute`` are its functions that fail."""

    names: tuple[str, ...] = ("NVIDIA A", "NVIDIA B")
    mute: set[str] = field(default_factory=set)
    NVML_TEMPERATURE_GPU = 0
    NVMLError = NvmlError

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("nvml") and name in object.__getattribute__(self, "mute"):
            return self._fail
        return object.__getattribute__(self, name)

    def _fail(self, *arguments: object) -> None:
        del arguments
        raise NvmlError

    def nvmlInit(self) -> None: ...

    def nvmlDeviceGetCount(self) -> int:
        return len(self.names)

    def nvmlDeviceGetHandleByIndex(self, number: int) -> int:
        if number >= len(self.names):
            raise NvmlError
        return number

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:
        return {"GPU-a": 0, "GPU-b": 1}[uuid]

    def nvmlDeviceGetName(self, handle: int) -> str:
        return self.names[handle]

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> SimpleNamespace:
        return SimpleNamespace(gpu=40 + handle)

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:
        return SimpleNamespace(used=handle * MEBIBYTE, total=8 * MEBIBYTE)

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:
        return 60 + handle + sensor

    def nvmlDeviceGetCudaComputeCapability(self, handle: int) -> tuple[int, int]:
        return 7 + handle, 5

    def nvmlSystemGetDriverVersion(self) -> str:
        return "999.1"


class Clock:
    """Time that passes when told."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


NO_DRIVER = FakeNvml(mute={"nvmlInit"})


def write(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(f"{content}\n")


@pytest.fixture
def groups(tmp_path: Path) -> ControlGroups:
    process = tmp_path / "process"
    process.write_text("0::/\n")
    return ControlGroups(tmp_path / "cgroup", process)


def test_a_container_of_version_2_tells_its_limits(groups: ControlGroups) -> None:
    write(groups.mount, memory__max=1000, memory__current=700, cpu__max="150000 100000")
    write(groups.mount, memory__stat="anon 5\ninactive_file 200", cpu__stat="usage_usec 2500000\nuser_usec 1")
    assert groups.memory() == Amount(500, 1000)
    assert groups.processors() == 1.5
    assert groups.processor_seconds() == 2.5


def test_the_tightest_of_the_groups_around_a_process_counts(groups: ControlGroups) -> None:
    groups.of_process.write_text("0::/service/worker\n")
    write(groups.mount, memory__max="max", memory__current=900, cpu__max="max 100000")
    write(groups.mount / "service", memory__max=300, memory__current=200, cpu__max="50000 100000")
    write(groups.mount / "service" / "worker", memory__max=400, memory__current=100, cpu__max="max 100000")
    assert groups.memory() == Amount(200, 300)
    assert groups.processors() == 0.5


@pytest.mark.parametrize("path", ["/", "/docker/abc"])
def test_version_1_has_a_folder_for_each_controller(groups: ControlGroups, path: str) -> None:
    groups.of_process.write_text(f"4:memory:{path}\n2:cpu,cpuacct:{path}\n0::/\n")
    inside = path.strip("/")
    write(groups.mount / "memory" / inside, memory__limit_in_bytes=800, memory__usage_in_bytes=500)
    write(groups.mount / "memory" / inside, memory__stat="total_inactive_file 100")
    write(groups.mount / "cpu" / inside, cpu__cfs_quota_us=200000, cpu__cfs_period_us=100000)
    write(groups.mount / "cpuacct" / inside, cpuacct__usage=3_000_000_000)
    assert groups.memory() == Amount(400, 800)
    assert groups.processors() == 2
    assert groups.processor_seconds() == 3


def test_a_group_that_this_process_cannot_see_is_the_one_at_the_top(groups: ControlGroups) -> None:
    groups.of_process.write_text("0::/kubepods/pod1/container\n")
    write(groups.mount, memory__max=1000, memory__current=10)
    assert groups.memory() == Amount(10, 1000)


def test_numbers_that_mean_no_limit_are_none(groups: ControlGroups) -> None:
    write(groups.mount / "memory", memory__limit_in_bytes=9223372036854771712, memory__usage_in_bytes=5)
    write(groups.mount / "cpu", cpu__cfs_quota_us=-1, cpu__cfs_period_us=100000)
    write(groups.mount, cpu__max="nonsense")
    assert groups.memory() is None
    assert groups.processors() is None
    assert groups.processor_seconds() is None


def test_the_monitor_shows_the_container_s_memory_and_load_not_the_machine_s(
    groups: ControlGroups, tmp_path: Path
) -> None:
    write(groups.mount, memory__max=64 * MEBIBYTE, memory__current=16 * MEBIBYTE)
    write(groups.mount, cpu__max="50000 100000", cpu__stat="usage_usec 1000000")
    clock = Clock()
    monitor = Monitor(tmp_path, groups, NvidiaGpus(NO_DRIVER), clock)
    clock.now += 10
    write(groups.mount, cpu__stat="usage_usec 3000000")
    machine = monitor.machine()
    assert machine.memory == Amount(16 * MEBIBYTE, 64 * MEBIBYTE)
    assert machine.processors == 0.5
    assert machine.processor_load == pytest.approx(0.4)  # 2 s of the 5 s that half a processor has in 10 s


def test_a_limit_above_the_machine_s_memory_limits_nothing(groups: ControlGroups, tmp_path: Path) -> None:
    write(groups.mount, memory__max=1 << 59, memory__current=5)
    memory = Monitor(tmp_path, groups, NvidiaGpus(NO_DRIVER)).machine().memory
    assert memory is not None
    assert memory.total == psutil.virtual_memory().total
    assert 0 < memory.fraction < 1


def test_a_snapshot_is_kept_for_a_second(groups: ControlGroups, tmp_path: Path) -> None:
    clock = Clock()
    monitor = Monitor(tmp_path, groups, NvidiaGpus(NO_DRIVER), clock)
    first = monitor.machine()
    clock.now += 0.9
    assert monitor.machine() is first
    clock.now += 0.2
    assert monitor.machine() is not first


def test_nvidia_s_gpus_are_told_with_load_memory_and_temperature(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    nvidia = NvidiaGpus(FakeNvml())
    assert nvidia.all() == (
        GpuStatus("NVIDIA A", 0.4, Amount(0, 8 * MEBIBYTE), 60, (7, 5)),
        GpuStatus("NVIDIA B", 0.41, Amount(MEBIBYTE, 8 * MEBIBYTE), 61, (8, 5)),
    )
    assert nvidia.driver() == "999.1"


@pytest.mark.parametrize(
    ("visible", "names"),
    [("1", ["NVIDIA B"]), ("GPU-b,0", ["NVIDIA B", "NVIDIA A"]), ("", []), ("-1", []), ("7", [])],
)
def test_only_gpus_that_this_process_may_use_are_shown(
    monkeypatch: pytest.MonkeyPatch, visible: str, names: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    nvml = FakeNvml(mute={"nvmlDeviceGetHandleByUUID"} if visible in ("", "-1") else set())
    assert [gpu.name for gpu in NvidiaGpus(nvml).all()] == names


def test_what_a_gpu_does_not_tell_is_absent() -> None:
    nvml = FakeNvml(("GRID",), {"nvmlDeviceGetUtilizationRates", "nvmlDeviceGetTemperature", "nvmlDeviceGetName"})
    nvml.mute.add("nvmlDeviceGetCudaComputeCapability")
    assert NvidiaGpus(nvml).all() == (GpuStatus("NVIDIA GPU", None, Amount(0, 8 * MEBIBYTE), None),)


@pytest.mark.parametrize("mute", ["nvmlInit", "nvmlDeviceGetCount"])
def test_without_a_driver_there_is_no_gpu_to_show(mute: str) -> None:
    nvidia = NvidiaGpus(FakeNvml(mute={mute}))
    assert nvidia.all() == ()
    assert nvidia.all() == ()
    assert nvidia.driver() is None


def test_the_disk_of_a_folder_that_is_not_there_yet_is_its_parent_s(tmp_path: Path) -> None:
    disk = free_disk(tmp_path / "a" / "b")
    assert disk is not None
    assert disk.total == psutil.disk_usage(str(tmp_path)).total


@pytest.mark.parametrize("error", [PermissionError(13, "no access"), KeyError("MemTotal"), NotImplementedError()])
@pytest.mark.parametrize(
    ("name", "lacks"), [("virtual_memory", "memory"), ("disk_usage", "disk"), ("cpu_times", "processor_load")]
)
def test_what_the_system_refuses_to_tell_is_absent(
    monkeypatch: pytest.MonkeyPatch, groups: ControlGroups, tmp_path: Path, name: str, lacks: str, error: Exception
) -> None:
    monkeypatch.setattr(psutil, name, Mock(side_effect=error))
    data = asdict(Monitor(tmp_path, groups, NvidiaGpus(NO_DRIVER)).machine())
    assert [key for key, value in data.items() if value is None] == [lacks]
