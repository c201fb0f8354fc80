"""The stages of any network: modules through whose output all goes that leads from the images to the logits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from inside.feature_maps.frozen import begun_before, owner
from inside.feature_maps.hooks import all_modules, capture, eval_mode, is_squeeze_excitation
from inside.models.surgery import classifier_name, empty_image

MOST_STAGES = 16


@dataclass
class _Segment:
    """The modules that end between one layer with weights and the next; `outputs`: those that everything goes through."""

    weighty: set[str] = field(default_factory=set)
    outputs: list[str] = field(default_factory=list)


def find_stages(model: nn.Module, image_size: int, *, channels: int = 3, at_most: int = MOST_STAGES) -> list[str]:
    """Names of the stages of a network in their order: its blocks, and the layers outside of them, before the classifier.

    All that the logits depend on goes through the output of a stage: every path from the images to the logits, in the graph
    that autograd keeps of one pass, leads through it. What lies beside a shortcut is therefore none. A block is the smallest
    such module with several layers of weights that is not merely a sequence. Outside of blocks, each layer with weights
    ends a stage, together with the normalisation and activation that follow it. Where there are more than `at_most`, as
    many are chosen evenly spaced, the first and the last among them.
    """
    order, through = _outlets(model, image_size, channels)
    modules, head = all_modules(model), classifier_name(model)
    weighty = {name for name in order if _has_weights(modules[name])}
    inside = {name: {own for own in weighty if own == name or own.startswith(f"{name}.")} for name in through}
    large = [name for name in order if len(inside.get(name, ())) > 1 and head not in inside[name]
             and not isinstance(modules[name], nn.Sequential) and not is_squeeze_excitation(modules[name])]
    blocks = [name for name in large if not any(other.startswith(f"{name}.") for other in large)]
    stages, current = list[str](), _Segment()
    for name in order:
        if name == head or name.startswith(f"{head}."):
            break
        if any(name.startswith(f"{block}.") for block in blocks):
            continue
        if name in weighty and current.outputs or name in blocks:
            stages, current = [*stages, *_stage_of(current, modules, inside)], _Segment()
        if name in blocks:
            stages.append(name)
            continue
        current.weighty |= {name} & weighty
        current.outputs += [name] * (name in through)
    stages += _stage_of(current, modules, inside)
    n = min(at_most, len(stages))
    return [stages[round(place * (len(stages) - 1) / max(1, n - 1))] for place in range(n)]


def _has_weights(module: nn.Module) -> bool:
    return any(weight.ndim > 1 for weight in module.parameters(recurse=False))


def _stage_of(segment: _Segment, modules: Mapping[str, nn.Module], inside: Mapping[str, set[str]]) -> list[str]:
    """[the module of a segment that is measured]: the outermost that holds its weights, else the last that is no pooling."""
    own = [name for name in segment.outputs if inside[name] <= segment.weighty]
    around = [name for name in own if inside[name] - {name}]
    layers = [name for name in own if not isinstance(modules[name], nn.Dropout | nn.Flatten | nn.Identity)
              and "pool" not in type(modules[name]).__name__.lower()]
    return (around or layers)[-1:] if segment.weighty else []


def _outlets(model: nn.Module, image_size: int, channels: int) -> tuple[list[str], set[str]]:
    """The modules in the order in which they end, and those, called once, through whose output all paths lead."""
    nodes, order = dict[str, torch.autograd.graph.Node](), list[str]()
    image = empty_image(model, (image_size, image_size), channels).requires_grad_()

    def note(name: str, output: object) -> None:
        order.append(name)
        if isinstance(output, Tensor) and output.ndim in (2, 3, 4) and len(output) == 1 and output.grad_fn is not None:
            nodes[name] = output.grad_fn

    with eval_mode(model), torch.enable_grad(), capture(model, list(all_modules(model)), note) as calls:
        last = model(image).grad_fn
    graph = list(_inputs_first(last))
    ways_in, ways_out = dict[torch.autograd.graph.Node, int](), dict.fromkeys(graph, 0) | {last: 1}
    for node in graph:
        ways_in[node] = sum(map(ways_in.__getitem__, _inputs(node))) + (getattr(node, "variable", None) is image)
    for node in reversed(graph):
        for one in _inputs(node):
            ways_out[one] += ways_out[node]
    return order, {name for name, node in nodes.items() if calls[name] == 1
                   and ways_in.get(node, 0) * ways_out.get(node, 0) == ways_in[last]}


def _inputs(node: torch.autograd.graph.Node) -> list[torch.autograd.graph.Node]:
    return [one for one, _ in node.next_functions if one is not None]


def _inputs_first(last: torch.autograd.graph.Node) -> Iterator[torch.autograd.graph.Node]:
    """The nodes of a graph, each after those that it takes its inputs from."""
    seen, stack = set[torch.autograd.graph.Node](), [(last, False)]
    while stack:
        node, ready = stack.pop()
        if ready:
            yield node
        elif node not in seen:
            seen.add(node)
            stack += [(node, True), *((one, False) for one in _inputs(node))]


def weight_changes(tuned: nn.Module, initial: nn.Module, stages: Sequence[str], *, channels: int = 3) -> list[float]:
    """How far the weights of each stage are from the initial ones: |w - w₀| / |w₀|, Euclidean norms over all its parameters.

    A stage has the parameters of the modules that begin to run after the stage before is ready and before it is itself.
    NaN where it has none, or none that differs from 0.
    """
    before, begun = begun_before(tuned, stages, channels)
    others, squares, done = dict(initial.named_parameters()), {name: [0.0, 0.0] for name in stages}, set[str]()
    stage_of: dict[str, str] = {}
    for stage in stages:
        stage_of |= dict.fromkeys(before[stage] - done, stage)
        done |= before[stage]
    for name, weight in tuned.named_parameters():
        if found := stage_of.get(owner(name, begun)):
            old = others[name].detach().cpu().double()
            squares[found][0] += float((weight.detach().cpu().double() - old).square().sum())
            squares[found][1] += float(old.square().sum())
    return [(moved / length) ** 0.5 if length else float("nan") for moved, length in squares.values()]
