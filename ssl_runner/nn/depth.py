"""How deep in a network its parameters lie."""

from torch import nn

LISTS = ("blocks", "stages", "layer", "layers", "h")  # what networks, also those of libraries, call the list of blocks


def depths(network: nn.Module) -> tuple[dict[nn.Parameter, int], int]:
    """The layer of each parameter, and the number of the last one.

    0: what comes before the blocks (the stem, embeddings); 1 ... L: the blocks; L + 1: what follows them. Blocks are
    the longest list that the network calls by one of the names in `LISTS`. Raises ValueError where there is none.
    """
    found = [
        each
        for part in network.modules()
        for name, each in part.named_children()
        if name in LISTS and isinstance(each, nn.ModuleList | nn.Sequential)
    ]
    if not found:
        raise ValueError(f"a {type(network).__name__} shows no list of its blocks, by which layers could be told apart")
    blocks = max(found, key=len)
    within = {p: place for place, block in enumerate(blocks, 1) for p in block.parameters()}
    last = len(blocks) + 1
    layers: dict[nn.Parameter, int] = {}
    reached = 0
    for parameter in network.parameters():
        reached = last if reached and parameter not in within else within.get(parameter, 0)
        layers[parameter] = reached
    return layers, last


def rate_scales(network: nn.Module, decay: float) -> dict[nn.Parameter, float]:
    """The factor of each parameter's learning rate: decay^(layers above it), 1 after the blocks.

    Clark, Luong, Le, Manning 2020 (ELECTRA), https://arxiv.org/abs/2003.10555; Bao, Dong, Piao, Wei 2022 (BEiT),
    https://arxiv.org/abs/2106.08254. Raises ValueError as `depths` does.
    """
    layers, last = depths(network)
    return {parameter: decay ** (last - layer) for parameter, layer in layers.items()}
