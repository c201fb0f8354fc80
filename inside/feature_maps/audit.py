"""What ran in a forward pass: modules, functions, what works in place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from inside.feature_maps.hooks import _tensors, all_modules, choose_layers, eval_mode, only_tensor
from inside.feature_maps.tracing import _activation_label


def hook_audit(model: nn.Module, batch: Tensor, layers: Sequence[str]) -> dict:
    """What the hooks met in one forward pass of `batch` (N,C,H,W), as a dictionary that JSON can hold.

    `layers`: for each its type, calls, whether it works in place, whether its output was overwritten later in the pass,
    and how that was handled. `activations`: those seen, as modules or as functions (F.relu, torch.relu, Tensor.relu_,
    F.gelu, clamp(min=0), …), with calls, places, and whether in place: observed by memory address, not by a flag.
    `called_several_times`: name -> calls, of all modules. Operations fused in C++ are not seen.
    """
    names, modules = choose_layers(model, layers), {id(m): name for name, m in model.named_modules()}
    running: list[nn.Module] = []
    seen: dict[tuple, Counter] = {}
    kept = {name: [] for name in names}
    handles = []

    def on_activation(label: str, in_place: bool) -> None:
        inside = running[-1] if running else model
        is_module = not list(inside.children()) and not list(inside.parameters(recurse=False))
        kind = ("module", type(inside).__name__) if is_module else ("functional", label)
        seen.setdefault((*kind, in_place), Counter())[modules[id(inside)] or type(model).__name__] += 1

    def leave(module: nn.Module, inputs: tuple, output: object) -> None:
        running.pop()
        called[modules[id(module)]] += 1

    def keep(name: str, module: nn.Module, inputs: tuple, output: object) -> None:
        x = only_tensor(name, output)
        kept[name].append((x, x._version, any(t.data_ptr() == x.data_ptr() for t in _tensors(inputs))))

    called, by_name = Counter(), all_modules(model)
    try:
        for module in model.modules():
            handles.append(module.register_forward_pre_hook(lambda module, inputs: running.append(module)))
            handles.append(module.register_forward_hook(leave))
        handles += [by_name[name].register_forward_hook(partial(keep, name)) for name in names]
        with eval_mode(model), torch.no_grad(), _SeeActivations(on_activation):
            model(batch)
    finally:
        for handle in handles:
            handle.remove()
    return {
        "batch": list(batch.shape),
        "layers": {name: _audit_layer(by_name[name], kept[name]) for name in names},
        "activations": [_audit_activation(*key, places) for key, places in seen.items()],
        "called_several_times": {name: n for name, n in called.items() if n > 1 and name},
    }


def _audit_layer(module: nn.Module, outputs: list[tuple[Tensor, int, bool]]) -> dict:
    in_place = any(own for *_, own in outputs)
    overwritten = any(x._version != version for x, version, _ in outputs)
    handling = "counted inside the hook at every call, before the next module runs"
    if overwritten:
        handling += "; a later in-place operation overwrote the output, which the count does not see"
    if in_place:
        handling += "; the module itself works in place: its output is counted, its input no longer exists"
    if not outputs:
        handling = "never called in the forward pass: nothing to count"
    return {"type": type(module).__name__, "calls": len(outputs), "in_place": in_place,
            "overwritten_later": overwritten, "handling": handling}


def _audit_activation(kind: str, label: str, in_place: bool, places: Counter) -> dict:
    handling = {
        ("module", False): "gives a new tensor: the feature map before it stays as it was",
        ("module", True): "overwrites its input: the feature map before it was reduced in its own hook, earlier",
        ("functional", False): "a function, not a module: no hook can name it; the module around it can be hooked",
        ("functional", True): "a function that overwrites its input: the feature map before it was reduced earlier",
    }[kind, in_place]
    return {"kind": kind, "activation": label, "in_place": in_place, "calls": sum(places.values()),
            "places": len(places), "examples": list(places)[:5], "handling": handling}


class _SeeActivations(TorchFunctionMode):
    """Reports each activation function that runs, whoever calls it; see torch.overrides.TorchFunctionMode."""

    def __init__(self, report: Callable[[str, bool], None]) -> None:
        super().__init__()
        self.report = report

    def __torch_function__(self, func, types, args=(), kwargs=None):
        label = _activation_label(func, args, kwargs or {})
        address = args[0].data_ptr() if label and args and isinstance(args[0], Tensor) else None
        result = func(*args, **(kwargs or {}))
        if address is not None:
            self.report(label, result.data_ptr() == address)
        return result
