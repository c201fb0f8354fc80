"""The device to compute on, the precision, and what fits into its memory."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch


def choose_device(device: str = "auto") -> torch.device:
    """The device to compute on: "auto" takes CUDA, otherwise Apple's MPS, otherwise the CPU.

    With CUDA, float32 is float32 from then on, without the shorter products of TF32, which PyTorch would allow in
    convolutions. On the CPU, this process keeps the memory of tensors that are gone, see `keep_memory`.
    """
    have = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        device = next(name for name, there in have.items() if there)
    if not have[device]:
        raise ValueError(f"DEVICE = {device!r} is not available here; DEVICE = \"auto\" takes what is.")
    if device == "cuda":
        _set_products("ieee")
    if device == "cpu":
        keep_memory()
    return torch.device(device)


KEPT = 2**30  # bytes
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of mallopt


def keep_memory() -> None:
    """Let this process keep up to KEPT bytes of freed memory for its next tensors. On Linux with glibc; elsewhere nothing.

    glibc gives tensors from 32 MB on back to the system at once, which clears the memory of the next one page by page: half
    of the time that EfficientNet-Lite0 takes for 32 images of 224 pixels, a third of that of a training step.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(AttributeError, OSError):
        library = ctypes.CDLL(None)
        if library.mallopt(M_MMAP_THRESHOLD, KEPT):  # older than glibc 2.35: refused
            library.mallopt(M_TRIM_THRESHOLD, KEPT)


def choose_precision(precision: str, device: torch.device) -> torch.dtype:
    """torch.bfloat16, float16 or float32 for training; "auto" takes bfloat16 if the hardware has instructions for it.

    On other CUDA GPUs "auto" takes float16. ValueError: float16 elsewhere.
    """
    if precision == "float16" and device.type != "cuda":
        raise ValueError(f"PRECISION = 'float16' needs a CUDA GPU, and this run computes on {device.type}: set PRECISION = "
                         "\"auto\".")
    if precision != "auto":
        return getattr(torch, precision)
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    fast = device.type == "cpu" and any(getattr(torch.cpu, probe, bool)() for probe in probes)
    return torch.bfloat16 if fast else torch.float32


def count_cores() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _set_products(kind: str) -> None:
    torch.backends.cuda.matmul.fp32_precision = torch.backends.cudnn.conv.fp32_precision = kind


@contextlib.contextmanager
def tf32() -> Iterator[None]:
    """Products of float32 numbers in TF32 on CUDA GPUs that have it, while the block runs: enough for training."""
    if torch.cuda.is_available():
        _set_products("tf32")
    try:
        yield
    finally:
        if torch.cuda.is_available():
            _set_products("ieee")


class InParts:
    """Does work on batches in parts that fit into the memory of the device: where it runs out, parts get half as large."""

    def __init__(self) -> None:
        self.size = 0

    def __call__(self, work: Callable[..., Any], *tensors: Any) -> list[Any]:
        """The results of `work` on the parts of tensors of the same length, in order."""
        self.size = self.size or len(tensors[0])
        done, results = 0, list[Any]()
        while done < len(tensors[0]):
            try:
                results.append(work(*(tensor[done:done + self.size] for tensor in tensors)))
                done += self.size
            except torch.OutOfMemoryError:
                if self.size == 1:
                    raise
                self.size = min(self.size, len(tensors[0])) // 2
                torch.cuda.empty_cache()
                print(f"out of memory: batches in parts of {self.size} from now on", flush=True)
        return results
