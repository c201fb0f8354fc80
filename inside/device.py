"""The device to compute on, and the precision."""

from __future__ import annotations

import torch


def choose_device(device: str = "auto") -> torch.device:
    """The device to compute on: "auto" takes CUDA, otherwise Apple's MPS, otherwise the CPU."""
    have = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        device = next(name for name, there in have.items() if there)
    if not have[device]:
        raise ValueError(f"DEVICE = {device!r} is not available here; DEVICE = \"auto\" takes what is.")
    return torch.device(device)


def choose_precision(precision: str, device: torch.device) -> torch.dtype:
    """torch.bfloat16 or torch.float32; "auto" takes bfloat16 if the hardware has instructions for it."""
    if precision != "auto":
        return getattr(torch, precision)
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    fast = device.type == "cpu" and any(getattr(torch.cpu, probe, bool)() for probe in probes)
    return torch.bfloat16 if fast else torch.float32
