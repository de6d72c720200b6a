"""What a traced step does that changes nothing is taken out of its graph: results are the same bit for bit."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

__all__ = ["simplified"]

aten = torch.ops.aten
ALIASES = {aten.detach.default, aten.expand.default, aten.view.default}
"""Operations whose result is their argument, if it has the same shape and strides."""
MADE_OF_SHAPES = {aten.ones_like.default, aten.zeros_like.default, aten.full_like.default}
MAX_CONSTANT = 2**20
"""Elements of the largest tensor that is kept instead of being computed at each step."""


def simplified(graph: GraphModule) -> GraphModule:
    """``graph`` without aliases and dead operations, and with what depends on literals alone computed once.

    Nothing that is drawn, changed in place, or read from an argument is touched; gradients of sums, which are products
    of weights and scales, are what is found most.

    Args:
        graph: of ATen operations, as ``make_fx`` traces it; it is changed in place.
    """
    changed = _ancestors(itertools.chain.from_iterable(map(_written, graph.graph.nodes)))
    with torch.no_grad():
        for node in list(graph.graph.nodes):
            if (
                not isinstance(node.target, OpOverload)
                or node in changed
                or node.target._schema.is_mutable
            ):
                continue
            if (same := _same(node)) is not None:
                node.replace_all_uses_with(same)
                graph.graph.erase_node(node)
            elif (value := _constant(graph, node)) is not None:
                name = f"constant_{node.name}"
                setattr(graph, name, value)
                with graph.graph.inserting_before(node):
                    constant = graph.graph.create_node("get_attr", name)
                constant.meta |= node.meta | {"literal": True}
                node.replace_all_uses_with(constant)
                graph.graph.erase_node(node)
    graph.graph.eliminate_dead_code()
    for name in {name for name in vars(graph) if name.startswith("constant_")} - _attributes(graph):
        delattr(graph, name)  # what another was computed from
    graph.recompile()
    return graph


def _attributes(graph: GraphModule) -> set[str]:
    return {str(node.target) for node in graph.graph.find_nodes(op="get_attr")}


def _written(node: Node) -> Iterator[Node]:
    """What a node changes in place."""
    arguments = node.target._schema.arguments if isinstance(node.target, OpOverload) else ()
    for argument, value in itertools.zip_longest(arguments, node.args):
        if (
            argument is not None
            and argument.alias_info is not None
            and argument.alias_info.is_write
        ):
            value = node.kwargs.get(argument.name, value)
            yield from (
                n
                for n in (value if isinstance(value, Sequence) else (value,))
                if isinstance(n, Node)
            )


def _ancestors(nodes: Iterable[Node]) -> set[Node]:
    """The nodes, and all that they are computed from."""
    found: set[Node] = set()
    left = list(nodes)
    while left:
        node = left.pop()
        if node not in found:
            found.add(node)
            left += node.all_input_nodes
    return found


def _same(node: Node) -> Node | None:
    """The node of which ``node`` is another name."""
    source = node.args[0] if node.args else None
    if not isinstance(source, Node):
        return None
    if node.target is aten.t.default and source.target is aten.t.default:
        return source.args[0]  # type: ignore[return-value]
    layouts = [
        (v.shape, v.stride(), v.dtype)
        for n in (node, source)
        if isinstance(v := n.meta.get("val"), Tensor)
    ]
    return (
        source
        if node.target in ALIASES and len(layouts) == 2 and layouts[0] == layouts[1]
        else None
    )


def _constant(graph: GraphModule, node: Node) -> Tensor | None:
    """The value of a node that is the same at every step."""
    call, like = node.target, node.meta.get("val")
    if (
        not isinstance(call, OpOverload)
        or not isinstance(like, Tensor)
        or like.numel() > MAX_CONSTANT
    ):
        return None
    if call in MADE_OF_SHAPES:
        source = node.all_input_nodes[0].meta.get("val")
        if not isinstance(source, Tensor) or source.numel() > MAX_CONSTANT:
            return None
        empty = torch.empty_strided(
            source.shape, source.stride(), dtype=source.dtype, device=source.device
        )
        return call(empty, *node.args[1:], **node.kwargs)
    inputs = node.all_input_nodes
    literal = call is aten.lift_fresh_copy.default or all(n.meta.get("literal") for n in inputs)
    if not inputs or not literal or torch.Tag.nondeterministic_seeded in call.tags:
        return None
    args, kwargs = map_arg((node.args, node.kwargs), lambda n: getattr(graph, str(n.target)))
    return call(*args, **kwargs)
