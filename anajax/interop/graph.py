"""ONNX files as functions: a graph of supported operators, and its parameters."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from anajax._core import checks
from anajax.interop.buffers import damaged
from anajax.interop.onnx_file import Unread, dtype_of, model, tensor
from anajax.interop.operators import TABLE
from anajax.interop.operators.node import Node, known
from anajax.interop.operators.shapes import STATIC
from anajax.interop.protobuf import Message

_OWN = ("", "ai.onnx")
_MISFITS = (
    TypeError, ValueError, IndexError, KeyError, AttributeError, ZeroDivisionError,
    MemoryError,
)  # fmt: skip
"""What operands that do not fit make of an operator."""
_BRANCHES = ("then_branch", "else_branch")


@dataclasses.dataclass(frozen=True)
class Graph:
    """Nodes in the order in which they run."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: dict[str, np.ndarray]
    nodes: tuple[Node, ...]

    def graphs(self) -> Iterator["Graph"]:
        """This graph and the graphs in its nodes."""
        yield self
        for node in self.nodes:
            for value in node.attributes.values():
                if isinstance(value, Graph):
                    yield from value.graphs()


class Network:
    """The function of an ONNX file; made by `onnx`."""

    def __init__(self, graph: Graph, fixed: set[str]):
        self._graph, self._fixed = graph, fixed
        self.inputs, self.outputs = graph.inputs, graph.outputs
        """Names of what goes in and comes out, in order."""

    def __call__(self, params: dict[str, Any], *inputs: Any) -> Any:
        """The output, or a tuple of several.

        Args:
            params: weights by name.
            *inputs: arrays in the order of `inputs`, with axes as in the file. Inputs
                that set a shape must be known when the function is traced.

        Raises:
            ValueError: if the number of inputs differs, or a node does not fit.
        """
        if len(inputs) != len(self.inputs):
            names = ", ".join(self.inputs)
            checks.fail("inputs", f"be {names}", f"{len(inputs)} arrays", "Pass them.")
        values = {n: jnp.asarray(v) for n, v in params.items()}
        for name, value in zip(self.inputs, inputs, strict=True):
            number = isinstance(value, bool | int | float)
            fixed = number or (name in self._fixed and known(value))
            values[name] = np.asarray(value) if fixed else jnp.asarray(value)
        outs = _run(self._graph, values)
        outs = tuple(jnp.asarray(v) for v in outs)
        return outs[0] if len(outs) == 1 else outs


def onnx(
    path: str | Path, *, outputs: Sequence[str] | None = None
) -> tuple[Network, dict[str, jax.Array]]:
    """An ONNX file as a pure function of its weights and inputs, and the weights.

    The network may be trained in any tool that exports ONNX. Weights are initializers,
    and constants with more than one number, that hold real numbers and set no shape; a
    weight has its name in the file. `apply` works with `jit`, `grad`, `vmap` and
    `analog`.

    Args:
        path: the file; weights in external files next to it are read too.
        outputs: names of values of the graph to return instead of its outputs; nodes
            that these do not need are dropped.

    Raises:
        ValueError: if the file is damaged, or has unsupported operators, which are
            listed with their nodes.

    Example:
        >>> apply, params = anajax.interop.onnx("net.onnx")
        >>> y = anajax.analog(apply)(params, x)
    """
    path = Path(path)
    proto = model(path)
    versions = {o.domain: o.version for o in proto.opset_import if o.domain in _OWN}
    if not versions:
        damaged(path, "no version of the operators")
    graph = _graph(path, proto.graph, max(versions.values()))
    if outputs is not None:
        graph = _pruned(path, graph, outputs)
    _check_operators(path, graph)
    _check_order(path, graph, set())
    fixed = _fixed(graph)
    params = {
        name: jnp.asarray(array)
        for part in graph.graphs()
        for name, array in _weights(part)
        if name not in fixed
    }
    return Network(graph, fixed), params


def _graph(path: Path, proto: Message, opset: int) -> Graph:
    constants = {t.name: _numbers(path, t) for t in proto.initializer}
    if proto.sparse_initializer:
        remedy = "Export them dense."
        checks.fail("path", "hold dense weights", "sparse initializers", remedy)
    return Graph(
        inputs=tuple(v.name for v in proto.input if v.name not in constants),
        outputs=tuple(v.name for v in proto.output),
        constants=constants,
        nodes=tuple(_node(path, node, opset) for node in proto.node),
    )


def _pruned(path: Path, graph: Graph, outputs: Sequence[str]) -> Graph:
    """What of a graph makes some of its values."""
    made = {name for node in graph.nodes for name in node.outputs if name}
    unknown = sorted(set(outputs) - made)
    if unknown or not outputs:
        got, last = unknown or "none", ", ".join(graph.outputs)
        checks.fail("outputs", f"be values of {path.name}", got, f"It has {last}.")
    needed, nodes = set(outputs), []
    for node in reversed(graph.nodes):
        if needed.intersection(node.outputs):
            nodes.append(node)
            needed |= _taken(node)
    inputs = tuple(name for name in graph.inputs if name in needed)
    constants = {n: v for n, v in graph.constants.items() if n in needed}
    return Graph(inputs, tuple(outputs), constants, tuple(reversed(nodes)))


def _taken(node: Node) -> set[str]:
    """Values that a node takes, and those that graphs in it do."""
    inner = [v for v in node.attributes.values() if isinstance(v, Graph)]
    parts = [part for graph in inner for part in graph.graphs()]
    names = {name for part in parts for each in part.nodes for name in each.inputs}
    return {*node.inputs, *names, *(n for part in parts for n in part.outputs)} - {""}


def _node(path: Path, proto: Message, opset: int) -> Node:
    own = proto.domain in _OWN
    return Node(
        kind=proto.op_type if own else f"{proto.domain}.{proto.op_type}",
        name=proto.name,
        inputs=tuple(proto.input),
        outputs=tuple(proto.output),
        attributes={
            a.name: _attribute(path, proto.op_type, a, opset) for a in proto.attribute
        },
        opset=opset,
    )


def _attribute(path: Path, kind: str, proto: Message, opset: int) -> Any:
    if kind in ("Cast", "EyeLike") and proto.name in ("to", "dtype"):
        return dtype_of(path, proto.i)
    if proto.type == 4 and proto.t is not None:
        return _numbers(path, proto.t)
    if proto.type == 5 and proto.g is not None:
        return _graph(path, proto.g, opset)
    names = {1: "f", 2: "i", 3: "s", 6: "floats", 7: "ints", 8: "strings"}
    return getattr(proto, names.get(proto.type, "ref_attr_name"))


def _numbers(path: Path, proto: Message) -> Any:
    found = tensor(path, proto)
    if isinstance(found, Unread):
        remedy = "Export the network without it."
        checks.fail("path", "hold numbers", f"{found.why} in {proto.name!r}", remedy)
    return found


def _check_operators(path: Path, graph: Graph) -> None:
    missing = [
        str(node)
        for part in graph.graphs()
        for node in part.nodes
        if node.kind not in TABLE and node.kind != "If"
    ]
    if missing:
        got = f"{'; '.join(missing[:5])} ({len(missing)} in all) in {path.name}"
        remedy = f"Export the network with others: {', '.join(sorted(TABLE))}."
        checks.fail("path", "hold operators that are known", got, remedy)


def _check_order(path: Path, graph: Graph, outer: set[str]) -> None:
    """Refuse values that nothing has made when they are used: a cycle, for one."""
    made = outer | set(graph.inputs) | set(graph.constants)
    for node in graph.nodes:
        unknown = {name for name in node.inputs if name} - made
        if unknown:
            damaged(
                path, f"{node}, which takes {min(unknown)!r:.60} before it is made,"
            )
        for value in node.attributes.values():
            if isinstance(value, Graph):
                _check_order(path, value, made)
        made |= set(node.outputs)
    if not set(graph.outputs) <= made or not graph.outputs:
        damaged(path, f"outputs {graph.outputs!r:.80} that nothing makes")


def _fixed(graph: Graph) -> set[str]:
    """Names of values that set shapes, and of all that they are made from."""
    nodes = [node for part in graph.graphs() for node in part.nodes]
    fixed: set[str] = set()
    for node in reversed(nodes):
        after = fixed.intersection(node.outputs)
        if after and node.kind not in ("Shape", "Size"):
            fixed.update(node.inputs)
        fixed.update(_static(node))
    return fixed - {""}


def _static(node: Node) -> Iterable[str]:
    if node.kind.startswith("Reduce"):
        return node.inputs[1:]
    places = STATIC.get(node.kind, ())
    return [node.inputs[i] for i in places if i < len(node.inputs)]


def _weights(graph: Graph) -> Iterator[tuple[str, np.ndarray]]:
    """Real numbers among the constants of one graph."""
    for name, array in graph.constants.items():
        if jnp.issubdtype(array.dtype, jnp.floating):
            yield name, array
    for node in graph.nodes:
        value = node.get("value") if node.kind == "Constant" else None
        if value is not None and value.size > 1:
            if jnp.issubdtype(value.dtype, jnp.floating):
                yield node.outputs[0], value


def _run(graph: Graph, values: dict[str, Any]) -> list[Any]:
    values = {**graph.constants, **values}
    for node in graph.nodes:
        if node.kind == "Constant" and node.outputs[0] in values:
            continue  # a weight
        operands = [values[name] if name else None for name in node.inputs]
        if node.kind == "If":
            results = _branch(node, operands[0], values)
        else:
            results = _results(node, operands)
        if len(results) < len([name for name in node.outputs if name]):
            node.refuse("as many results as are known", f"{len(results)} of {node}")
        values.update(zip(node.outputs, results, strict=False))
    return [values[name] for name in graph.outputs]


def _results(node: Node, operands: list[Any]) -> tuple[Any, ...]:
    try:
        with np.errstate(all="ignore"):
            results = TABLE[node.kind](node, *operands)
    except _MISFITS as error:
        if str(error).startswith("`"):
            raise
        shapes = ", ".join("-" if v is None else str(np.shape(v)) for v in operands)
        got = f"shapes {shapes} ({type(error).__name__}: {error})"
        remedy = "Pass inputs as the file has them."
        checks.fail("inputs", f"fit {node}", got, remedy)
    return results if isinstance(results, tuple) else (results,)


def _branch(node: Node, condition: Any, values: dict[str, Any]) -> tuple[Any, ...]:
    """The branch that a known condition takes, or both of an unknown one."""
    branches = [node.get(name) for name in _BRANCHES]
    if not isinstance(condition, Tracer):
        taken = branches[0 if bool(np.asarray(condition).ravel()[0]) else 1]
        return tuple(_run(taken, values))
    results = [
        lambda branch=branch: tuple(jnp.asarray(v) for v in _run(branch, values))
        for branch in branches
    ]
    return jax.lax.cond(jnp.reshape(condition, ()), *results)
