"""Read YAML from untrusted sources: plain values only, and of bounded size."""

from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode

MOST_NODES = 100_000  # of a file, each alias counted as all that it stands for: values, lists, mappings, keys
MOST_CHARACTERS = 10**7  # of its values, counted likewise
Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # of libyaml, where PyYAML was built with it
# of PyYAML over tags that do not suit their values, as `!!timestamp x`, besides its own
DAMAGE = (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, ArithmeticError, RecursionError)


def read_yaml(text: str) -> Any:
    """The single document of `text`. Raises ValueError, in one line, for invalid YAML, class tags and bombs."""
    try:
        loader = Parser(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            check_size(node)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except DAMAGE as error:
        why = " ".join(line.strip() for line in str(error).splitlines()[:3]) or type(error).__name__
        raise ValueError(why) from error


def check_text(text: str) -> None:
    """Raise ValueError for YAML whose aliases expand too far, before it is constructed; ignore other errors."""
    if "&" not in text or "*" not in text:
        return
    try:
        node = yaml.compose(text, Parser)
    except DAMAGE:
        return
    if node is not None:
        check_size(node)


def check_size(node: Node) -> None:
    """Raise ValueError for a document that exceeds `MOST_NODES` or `MOST_CHARACTERS`, or contains itself."""
    nodes, characters = _size(node, {}, set())
    if nodes > MOST_NODES or characters > MOST_CHARACTERS:
        raise ValueError(
            f"it expands to {nodes:,} values of {characters:,} characters (with aliases *name); the limits are "
            f"{MOST_NODES:,} and {MOST_CHARACTERS:,}"
        )


def _size(node: Node, known: dict[int, tuple[int, int]], above: set[int]) -> tuple[int, int]:
    """Nodes and characters; each node is looked at once, however often it is named."""
    if isinstance(node, ScalarNode):
        return 1, len(node.value)
    if id(node) in known:
        return known[id(node)]
    if id(node) in above:
        raise ValueError("it contains itself through an alias (*name)")
    above.add(id(node))
    parts = [part for pair in node.value for part in pair] if isinstance(node, MappingNode) else node.value
    sizes = [_size(part, known, above) for part in parts]
    above.remove(id(node))
    known[id(node)] = 1 + sum(nodes for nodes, _ in sizes), sum(characters for _, characters in sizes)
    return known[id(node)]
