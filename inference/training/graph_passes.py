"""Take operations that change nothing out of a traced step: results stay the same bit for bit."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

from ppl_disentangle._private_names import MissingNameError
from ppl_disentangle._torch_private import is_operation, schema_of

__all__ = ["simplified"]

aten = torch.ops.aten
ALIASES = {aten.detach.default, aten.expand.default, aten.view.default}
"""Operations whose result is their argument, if both have the same shape and strides."""
FILLED_ALIKE = {aten.ones_like.default, aten.zeros_like.default, aten.full_like.default}
"""Operations whose result depends on the layout of their first argument, not on its values."""
MAX_CONSTANT_ELEMENTS = 2**20
"""Elements of the largest tensor that is kept in memory instead of being computed at each step."""
CONSTANT_PREFIX = "constant_"


def simplified(graph: GraphModule) -> GraphModule:
    """``graph`` without aliases and dead operations; values that follow from literals are kept.

    Most of it is the gradient of a weighted sum, which multiplies weights and scales anew at each
    step. Random numbers, tensors that are changed in place, and whatever follows from an argument
    stay as they are. Where torch does not say which operations change their arguments, the whole
    graph does.

    Args:
        graph: A graph of ATen operations, as ``make_fx`` traces it; it is changed in place.
    """
    try:
        # A tensor that is changed in place may be a view of any tensor that it is computed from:
        # none of these may be merged with another, or kept from one step to the next.
        changed = _ancestors(itertools.chain.from_iterable(map(_written_by, graph.graph.nodes)))
        candidates = [
            node for node in graph.graph.nodes if node not in changed and _is_functional(node)
        ]
    except MissingNameError:
        return graph
    with torch.no_grad():
        for node in candidates:
            _replace(graph, node)
    graph.graph.eliminate_dead_code()
    _delete_unused_constants(graph)
    graph.recompile()
    return graph


def _replace(graph: GraphModule, node: Node) -> None:
    """Put the node's argument in its place if it is an alias, or its value if it is constant."""
    replacement = _aliased(node)
    if replacement is None:
        value = _constant(graph, node)
        if value is None:
            return
        replacement = _constant_node(graph, node, value)
    node.replace_all_uses_with(replacement)
    graph.graph.erase_node(node)


def _constant_node(graph: GraphModule, node: Node, value: Tensor) -> Node:
    """A new node before ``node`` that reads ``value`` from an attribute of the graph."""
    name = CONSTANT_PREFIX + node.name
    setattr(graph, name, value)
    with graph.graph.inserting_before(node):
        constant = graph.graph.create_node("get_attr", name)
    constant.meta |= node.meta | {"literal": True}  # later constants may be computed from it
    return constant


def _delete_unused_constants(graph: GraphModule) -> None:
    """Free the constants from which only other constants were computed."""
    used = {str(node.target) for node in graph.graph.find_nodes(op="get_attr")}
    constants = {name for name in vars(graph) if name.startswith(CONSTANT_PREFIX)}
    for name in constants - used:
        delattr(graph, name)


def _is_functional(node: Node) -> bool:
    """Whether a node is an ATen operation that changes no argument."""
    return is_operation(node.target) and not schema_of(node.target).is_mutable


def _written_by(node: Node) -> Iterator[Node]:
    """The nodes whose tensors a node changes in place."""
    if not is_operation(node.target):
        return
    # Arguments at the end may be missing from args: they are passed by name, or left out.
    for argument, value in itertools.zip_longest(schema_of(node.target).arguments, node.args):
        if argument is None or argument.alias_info is None or not argument.alias_info.is_write:
            continue
        value = node.kwargs.get(argument.name, value)
        tensors = value if isinstance(value, Sequence) else (value,)  # foreach takes lists
        yield from (tensor for tensor in tensors if isinstance(tensor, Node))


def _ancestors(nodes: Iterable[Node]) -> set[Node]:
    """The nodes, and all nodes from which they are computed."""
    ancestors: set[Node] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node not in ancestors:
            ancestors.add(node)
            waiting += node.all_input_nodes
    return ancestors


def _aliased(node: Node) -> Node | None:
    """The node whose result a node's result is, under another name; ``None`` if it is a new one."""
    source = node.args[0] if node.args else None
    if not isinstance(source, Node):
        return None
    if node.target is aten.t.default and source.target is aten.t.default:
        # The transpose of a transpose is the matrix itself.
        return source.args[0]  # type: ignore[return-value]
    if node.target not in ALIASES:
        return None
    layout = _layout(node)
    return source if layout is not None and layout == _layout(source) else None


def _layout(node: Node) -> tuple[torch.Size, tuple[int, ...], torch.dtype] | None:
    """Shape, strides and type of a node's result, which the tracer left at the node."""
    value = node.meta.get("val")
    if not isinstance(value, Tensor):
        return None
    return value.shape, value.stride(), value.dtype


def _constant(graph: GraphModule, node: Node) -> Tensor | None:
    """The value of a node that is the same at every step; ``None`` if it is not, or is large."""
    if not is_operation(node.target) or not _is_small(node):
        return None
    if node.target in FILLED_ALIKE:
        return _filled(node)
    inputs = node.all_input_nodes
    # The tracer turns torch.tensor(2.0) into lift_fresh_copy of an attribute of the graph.
    is_literal = node.target is aten.lift_fresh_copy.default
    follows = is_literal or all(source.meta.get("literal") for source in inputs)
    draws = torch.Tag.nondeterministic_seeded in node.target.tags  # type: ignore[union-attr]
    if not inputs or not follows or draws:
        return None
    args, kwargs = map_arg((node.args, node.kwargs), lambda n: getattr(graph, str(n.target)))
    return node.target(*args, **kwargs)  # type: ignore[operator]


def _filled(node: Node) -> Tensor | None:
    """The value of ones_like, zeros_like or full_like, which needs the layout of its argument."""
    source = node.all_input_nodes[0]
    if not _is_small(source):
        return None
    like = source.meta["val"]
    # Of the tracer's stand-in only the layout is known; the values do not matter.
    empty = torch.empty_strided(like.shape, like.stride(), dtype=like.dtype, device=like.device)
    return node.target(empty, *node.args[1:], **node.kwargs)  # type: ignore[operator]


def _is_small(node: Node) -> bool:
    """Whether the result of a node is a tensor small enough to be kept."""
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.numel() <= MAX_CONSTANT_ELEMENTS
