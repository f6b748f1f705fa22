"""Layers of the networks as input.nn tells them, and what else would fit a number of weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...core.errors import OptionError
from .input_nn import MAX_LAYERS, MAX_NODES, Entry, Settings
from .params import ACTIVATIONS

_NODES_FORM = "write the nodes of the hidden layers, as in nodes='10 10'"


@dataclass(frozen=True)
class Topology:
    """Nodes of the hidden layers, and one activation for each layer, the output's included."""

    hidden: tuple[int, ...]
    activations: str

    @property
    def nodes(self) -> tuple[int, ...]:
        return (*self.hidden, 1)

    def count(self, inputs: int) -> int:
        """Weights and biases of a network with that many inputs."""
        return count_weights(inputs, self.hidden)

    def text(self, inputs: int) -> str:
        return "-".join(map(str, (inputs, *self.nodes)))


def count_weights(inputs: int, hidden: Sequence[int]) -> int:
    """Numbers of a weights file."""
    sizes = (inputs, *hidden, 1)
    return sum((a + 1) * b for a, b in zip(sizes, sizes[1:], strict=False))


def parse_nodes(value: object, option: str) -> tuple[int, ...]:
    """The option `nodes`: "10 10", "10-10", (10, 10) or 10. Raises OptionError."""
    words = value.replace(",", " ").replace("-", " ").split() if isinstance(value, str) else value
    many = words if isinstance(words, (list, tuple)) else [words]
    try:
        if any(isinstance(n, (bool, float)) for n in many):
            raise ValueError
        nodes = tuple(int(n) for n in many)
    except (TypeError, ValueError):
        nodes = ()
    if not 0 < len(nodes) <= MAX_LAYERS or not all(0 < n <= MAX_NODES for n in nodes):
        raise OptionError(f"{option} is {value!r}; {_NODES_FORM.replace('nodes=', option + '=')}")
    return nodes


def read_topologies(s: Settings, net: str, nodes: tuple[int, ...] | None = None) -> dict[str, Topology]:
    """The network of each element. net: short or electrostatic; nodes: hidden layers in place of the file's."""
    letters = _letters(s, net)
    if nodes is not None:
        if len(letters) not in (len(nodes), len(nodes) + 1):
            letters = [letters[0] if letters else "t"] * len(nodes)
        return {e: _topology(s, s.get(f"global_activation_{net}"), nodes, letters) for e in s.elements}
    entry = s.need(f"global_hidden_layers_{net}")
    s.count(entry, 1, 1, "number")
    layers = s.int(entry, 0, "the number of hidden layers", 0, MAX_LAYERS)
    counts = {e: layers for e in s.elements}
    for told in s.all(f"element_hidden_layers_{net}"):
        s.count(told, 2, 2, "element number")
        counts[s.element(told)] = s.int(told, 1, "the number of hidden layers", 0, layers)
    common = _global_nodes(s, net, layers)
    out = {}
    for symbol, depth in counts.items():
        own = _element_nodes(s, net, symbol, common[:depth])
        given = letters if depth == layers else letters[:depth]
        given = _element_letters(s, net, symbol, own, given)
        out[symbol] = _topology(s, s.get(f"global_activation_{net}"), own, given)
    return out


def _letters(s: Settings, net: str) -> list[str]:
    entry = s.need(f"global_activation_{net}")
    for letter in entry.args:
        if len(letter) != 1 or letter not in ACTIVATIONS:
            s.fail(entry, f"the activation '{letter[:20]}'", f"one of {' '.join(ACTIVATIONS)} for each layer")
    return list(entry.args)


def _global_nodes(s: Settings, net: str, layers: int) -> list[int]:
    entry = s.get(f"global_nodes_{net}") if layers == 0 else s.need(f"global_nodes_{net}")
    if entry is None:
        return []
    s.count(entry, layers, layers, f"nodes of {layers} hidden layers")
    return [s.int(entry, k, "the nodes", 1, MAX_NODES) for k in range(layers)]


def _element_nodes(s: Settings, net: str, symbol: str, nodes: Sequence[int]) -> tuple[int, ...]:
    """With the lines 'element_nodes_short element layer nodes' of this element."""
    own = list(nodes)
    for told in s.all(f"element_nodes_{net}"):
        s.count(told, 3, 3, "element layer nodes")
        if s.element(told) == symbol:
            layer = s.int(told, 1, "the hidden layer", 1, len(own))
            own[layer - 1] = s.int(told, 2, "the nodes", 1, MAX_NODES)
    return tuple(own)


def _element_letters(s: Settings, net: str, symbol: str, nodes: Sequence[int], letters: list[str]) -> list[str]:
    """With the lines 'element_activation_short element layer node letter', which must agree within a layer."""
    own: dict[int, dict[int, str]] = {}
    last: dict[int, Entry] = {}
    sizes = [*nodes, 1]
    for told in s.all(f"element_activation_{net}"):
        s.count(told, 4, 4, "element layer node letter")
        if s.element(told) != symbol:
            continue
        layer = s.int(told, 1, "the layer", 1, len(sizes))
        node = s.int(told, 2, "the node", 1, sizes[layer - 1])
        if told.args[3] not in tuple(ACTIVATIONS):
            s.fail(told, f"the activation '{told.args[3][:20]}'", f"one of {' '.join(ACTIVATIONS)}")
        own.setdefault(layer, {})[node] = told.args[3]
        last[layer] = told
    out = list(letters)
    for layer, found in own.items():
        used = set(found.values()) if len(found) == sizes[layer - 1] else {*found.values(), out[layer - 1 : layer][0]}
        if len(used) != 1:
            s.fail(last[layer], f"layer {layer} of {symbol} has the activations {' '.join(sorted(used))}", "one only")
        out[layer - 1 : layer] = used
    return out


def _topology(s: Settings, entry: Entry | None, nodes: Sequence[int], letters: Sequence[str]) -> Topology:
    """The output's letter may be absent; n2p2 takes a linear output whatever it is, RuNNer the letter."""
    if len(letters) not in (len(nodes), len(nodes) + 1):
        s.fail(entry, f"{len(letters)} activations", f"{len(nodes) + 1}: of {len(nodes)} hidden layers and the output")
    if len(letters) > len(nodes) and letters[-1] != "l":
        what = f"the activation '{letters[-1]}' of the output, which RuNNer uses and n2p2 does not"
        s.fail(entry, what, "the linear output 'l'")
    return Topology(tuple(nodes), "".join(letters[: len(nodes)]) + "l")


def fitting(counts: Sequence[tuple[int, int]], layers: int) -> list[tuple[int, ...]]:
    """Hidden layers that fit all (inputs, weights): `layers` of equal size first, then one, then two of any size."""
    if not counts:
        return []
    inputs, total = counts[0]
    top = min(MAX_NODES, total)
    found: list[tuple[int, ...]] = []
    for depth in dict.fromkeys((max(1, layers), 1, 2, 3)):
        for n in range(1, min(top, 2000) + 1):
            need = count_weights(inputs, (n,) * depth)
            if need >= total:
                found += [(n,) * depth] if need == total else []
                break
    for n in range(1, min(top, 500) + 1):
        rest = total - 1 - (inputs + 1) * n
        if rest > 0 and rest % (n + 2) == 0:
            found.append((n, rest // (n + 2)))
    return [h for h in dict.fromkeys(found) if all(count_weights(k, h) == c for k, c in counts)]
