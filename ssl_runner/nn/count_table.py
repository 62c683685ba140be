"""A hash table of sums by key, of fixed size, on the device."""

import torch
from torch import Tensor, nn

PROBES = 12  # places tried for a key; with half of a table filled, one key of 4,000 has none of its own
MIX, STEP = -7046029254386353131, -4417276706812531889  # odd, so that mixing is injective
FREE = -1  # of `keys`: a place that holds none


class CountTable(nn.Module):
    """Sum amounts by key, for at most `size` keys; batched, without synchronization.

    Open addressing with double hashing: a key is tried at PROBES places, which follow from it, and takes the first that
    is free. Where none is, its amount is not kept. Keys are int64 and not negative.
    """

    keys: Tensor  # (size,) int64; FREE where there is none
    amounts: Tensor  # (size,)
    total: Tensor  # () of all amounts
    lost: Tensor  # () of those without a place

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("keys", torch.full((size,), FREE))
        self.register_buffer("amounts", torch.zeros(size))
        self.register_buffer("total", torch.zeros(()))
        self.register_buffer("lost", torch.zeros(()))

    @property
    def uncounted(self) -> Tensor:
        """() share of all amounts that did not fit."""
        return self.lost / self.total.clamp_min(1e-30)

    @torch.no_grad()
    def add(self, keys: Tensor, amounts: Tensor) -> None:
        """(n,) and (n,): add each amount to its key's; amounts of 0 make no key."""
        left = amounts
        for probe in range(PROBES):
            place = self._place(keys, probe)
            claim = torch.where((left != 0) & (self.keys[place] == FREE), keys, FREE)
            self.keys.scatter_reduce_(0, place, claim, "amax")  # of several for one free place, always the same wins
            here = self.keys[place] == keys
            self.amounts.index_add_(0, place, torch.where(here, left, 0))
            left = torch.where(here, 0, left)
        self.total.add_(amounts.sum())
        self.lost.add_(left.sum())

    def forward(self, keys: Tensor) -> Tensor:
        """(...) -> (...): the sum of each key; 0 where it has none."""
        found = torch.zeros(keys.shape, device=keys.device)
        for probe in range(PROBES):
            place = self._place(keys, probe)
            found = torch.where(self.keys[place] == keys, self.amounts[place], found)
        return found

    def _place(self, keys: Tensor, probe: int) -> Tensor:
        size = len(self.keys)
        first, step = _mixed(keys, MIX) % size, _mixed(keys, STEP) % max(size - 1, 1)
        return (first + probe * (step + 1)) % size


def _mixed(keys: Tensor, factor: int) -> Tensor:
    """Spread keys over all of int64; products wrap around. The upper bits, which depend on all of the key, are used."""
    product = keys * factor
    return (product ^ (product >> 29)) * factor >> 17
