"""Sets of permutations of nine elements with maximal Hamming distance.

The sets are groups, and members of a group differ in no fewer places than its members differ from the identity. In a
group that is sharply k-transitive on nine points only the identity leaves k points where they are: any two members
differ in at least 10 - k places, and no larger set does (Deza, Vanstone 1978, "Bounds for permutation arrays",
https://doi.org/10.1016/0378-3758(78)90008-3: at most 9! / (d - 1)! permutations are d apart).
"""

from functools import cache
from itertools import product

import torch
from torch import Tensor

Permutation = tuple[int, ...]

# Points as places (row, column) of a 3 x 3 grid, counted modulo 3: the field of nine elements, row + i column.
DOWN = tuple(3 * ((row + 1) % 3) + column for row, column in product(range(3), repeat=2))
RIGHT = tuple(3 * row + (column + 1) % 3 for row, column in product(range(3), repeat=2))
TURN = tuple(3 * ((row - column) % 3) + (row + column) % 3 for row, column in product(range(3), repeat=2))  # (1 + i) z
# Points as infinity (8) and the field of eight elements: polynomials over {0, 1} modulo z^3 + z + 1, as binary numbers.
ADD_ONE = (1, 0, 3, 2, 5, 4, 7, 6, 8)
TIMES_Z = (0, 2, 4, 6, 3, 1, 7, 5, 8)
INVERSE = (8, 1, 5, 6, 7, 2, 3, 4, 0)
SQUARE = (0, 1, 4, 5, 6, 7, 2, 3, 8)

GROUPS: dict[int, tuple[int, tuple[Permutation, ...]]] = {  # members -> (least distance, generators)
    9: (9, (DOWN, RIGHT)),  # shifts
    72: (8, (DOWN, RIGHT, TURN)),  # z -> a z + b, sharply 2-transitive
    504: (7, (ADD_ONE, TIMES_Z, INVERSE)),  # z -> (a z + b) / (c z + d), sharply 3-transitive
    1512: (6, (ADD_ONE, TIMES_Z, INVERSE, SQUARE)),  # with squares; an element other than 1 leaves at most 3 places
}
MOST = max(GROUPS)


def least_distance(size: int) -> int:
    """The minimal Hamming distance within `distant_permutations(size)`, which is the maximum for that size.

    >>> [least_distance(size) for size in (9, 64, 100, 1000)]
    [9, 8, 7, 6]
    """
    return next(distance for members, (distance, _) in GROUPS.items() if size <= members)


@cache
def distant_permutations(size: int) -> Tensor:
    """(size, 9) int64 permutations of 0 ... 8, the identity first, any two of which differ in as many places as
    possible: `least_distance`. Raises ValueError for fewer than 2 or more than 1512."""
    if not 2 <= size <= MOST:
        raise ValueError(f"{size} permutations are asked for; there must be 2 to {MOST}")
    generators = next(each for members, (_, each) in GROUPS.items() if size <= members)
    return torch.tensor(_closure(generators)[:size])


def _closure(generators: tuple[Permutation, ...]) -> list[Permutation]:
    """All products of generators, those of the first ones first."""
    found: dict[Permutation, None] = {tuple(range(9)): None}
    for count in range(1, len(generators) + 1):
        queue = list(found)
        for member in queue:  # grows while it is read
            for generator in generators[:count]:
                composed = tuple(generator[point] for point in member)
                if composed not in found:
                    found[composed] = None
                    queue.append(composed)
    return list(found)
