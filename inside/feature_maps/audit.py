"""What ran in a forward pass: modules, functions, what works in place."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
    by_name, record = all_modules(model), _Record(model)
    audited = {name: by_name[name] for name in choose_layers(model, layers)}
    with eval_mode(model), torch.no_grad(), record.attached(audited):
        model(batch)
    return {
        "batch": list(batch.shape),
        "layers": {name: _audit_layer(module, record.outputs[name]) for name, module in audited.items()},
        "activations": [_audit_activation(*key, places) for key, places in record.activations.items()],
        "called_several_times": {name: n for name, n in record.calls.items() if n > 1 and name},
    }


class _Record:
    """What a forward pass does: calls of each module, activations with their places, outputs of the audited layers."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.names = model, {id(module): name for name, module in model.named_modules()}
        self.running: list[nn.Module] = []
        self.calls: Counter = Counter()
        self.activations: dict[tuple[str, str, bool], Counter] = {}
        self.outputs: dict[str, list[tuple[Tensor, int, bool]]] = defaultdict(list)

    @contextmanager
    def attached(self, layers: Mapping[str, nn.Module]) -> Iterator[None]:
        """Watch the model while the block runs."""
        handles = []
        try:
            for module in self.model.modules():
                handles += [module.register_forward_pre_hook(self.enter), module.register_forward_hook(self.leave)]
            handles += [module.register_forward_hook(partial(self.keep, name)) for name, module in layers.items()]
            with _SeeActivations(self.activation):
                yield
        finally:
            for handle in handles:
                handle.remove()

    def enter(self, module: nn.Module, inputs: tuple) -> None:
        self.running.append(module)

    def leave(self, module: nn.Module, inputs: tuple, output: object) -> None:
        self.running.pop()
        self.calls[self.names[id(module)]] += 1

    def keep(self, name: str, module: nn.Module, inputs: tuple, output: object) -> None:
        x = only_tensor(name, output)
        self.outputs[name].append((x, x._version, any(t.data_ptr() == x.data_ptr() for t in _tensors(inputs))))

    def activation(self, label: str, in_place: bool) -> None:
        inside = self.running[-1] if self.running else self.model
        is_module = not list(inside.children()) and not list(inside.parameters(recurse=False))
        kind = ("module", type(inside).__name__) if is_module else ("functional", label)
        place = self.names[id(inside)] or type(self.model).__name__
        self.activations.setdefault((*kind, in_place), Counter())[place] += 1


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
        ("module", True): "overwrites its input; the feature map before it had already been counted in its own hook",
        ("functional", False): "a function, not a module: no hook can name it; the module around it can be hooked",
        ("functional", True): "a function that overwrites its input; the feature map before it had already been counted",
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
        if label and address is not None:
            self.report(label, result.data_ptr() == address)
        return result
