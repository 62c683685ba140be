"""Rows of tables of vectors."""

from torch import Tensor, nn


def look_up(table: nn.Embedding, ids: Tensor) -> Tensor:
    """(...) int64 -> (..., D): `table(ids)`, whose gradient on a CPU takes half the time.

    Of a dense gradient, that is, and with the same value but at `padding_idx`, which is a row like any other here.
    """
    if table.sparse or ids.device.type != "cpu":
        found: Tensor = table(ids)
        return found
    return table.weight.index_select(0, ids.flatten()).view(*ids.shape, table.embedding_dim)
