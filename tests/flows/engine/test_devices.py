"""Which GPUs are seen, on machines with none, one, several, and instances of one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from flows.engine.cluster import ClusterError, devices_for
from flows.engine.devices import visible_devices

TWO = """\
GPU 0: NVIDIA H200 (UUID: GPU-11111111-aaaa-bbbb-cccc-000000000001)
GPU 1: NVIDIA H200 (UUID: GPU-22222222-aaaa-bbbb-cccc-000000000002)
"""
CUT = """\
GPU 0: NVIDIA A100 (UUID: GPU-11111111-aaaa-bbbb-cccc-000000000001)
  MIG 3g.20gb     Device  0: (UUID: MIG-33333333-aaaa-bbbb-cccc-000000000003)
  MIG 3g.20gb     Device  1: (UUID: MIG-44444444-aaaa-bbbb-cccc-000000000004)
GPU 1: NVIDIA A100 (UUID: GPU-22222222-aaaa-bbbb-cccc-000000000002)
"""
FIRST, SECOND = (line.rsplit(" ", 1)[1].rstrip(")") for line in TWO.splitlines())


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose ``nvidia-smi`` prints a file."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nprint(open({str(tmp_path / 'listing')!r}).read(), end='')\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    return tmp_path / "listing"


def test_every_device_of_the_driver_is_found(smi: Path, tmp_path: Path) -> None:
    smi.write_text(TWO)
    assert visible_devices(tmp_path / "none") == (FIRST, SECOND)
    smi.write_text(CUT)
    assert [device[:12] for device in visible_devices(tmp_path / "none")] == [
        "MIG-33333333",
        "MIG-44444444",
        "GPU-22222222",
    ]


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ("1", ("1",)),
        ("1,0", ("1", "0")),
        ("0,7,1", ("0",)),  # CUDA hides what follows the first unknown device
        ("", ()),
        ("-1", ()),
        ("GPU-2222", ("GPU-2222",)),
        ("GPU-9999", ()),
    ],
)
def test_a_choice_of_the_user_is_obeyed(
    smi: Path, monkeypatch: pytest.MonkeyPatch, chosen: str, expected: tuple[str, ...]
) -> None:
    smi.write_text(TWO)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert visible_devices(smi.parent / "none") == expected


def test_without_nvidia_smi_the_kernels_driver_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_devices(tmp_path / "none") == ()
    information = tmp_path / "gpus" / "0000:65:00.0" / "information"
    information.parent.mkdir(parents=True)
    information.write_text(f"Model: \t\t NVIDIA H200\nIRQ:   \t\t 31\nGPU UUID: \t {FIRST}\n")
    assert visible_devices(tmp_path / "gpus") == (FIRST,)


def test_no_device_is_asked_for_where_none_may_be_used(smi: Path) -> None:
    smi.write_text(TWO)
    assert devices_for("try") == (FIRST, SECOND)
    assert devices_for("none") == ()
    smi.write_text("")
    assert devices_for("try") == ()
    with pytest.raises(ClusterError, match="--gpu require must find a CUDA device, got none"):
        devices_for("require")
