"""Ways in which a file can be damaged."""

import random
from collections.abc import Callable

Damage = Callable[[bytes, random.Random], bytes]


def cut(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content))]


def cut_short(content: bytes, draw: random.Random) -> bytes:
    return content[: -draw.randint(1, min(20, len(content)))]


def flipped(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 3, 20))):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def flipped_head(content: bytes, draw: random.Random) -> bytes:
    """Where formats say what follows, and how much of it."""
    head = min(256, len(content))
    return flipped(content[:head], draw) + content[head:]


def empty(content: bytes, draw: random.Random) -> bytes:
    return b""


def noise(content: bytes, draw: random.Random) -> bytes:
    return draw.randbytes(draw.choice((1, 16, len(content))))


def noise_behind_head(content: bytes, draw: random.Random) -> bytes:
    head = min(draw.choice((4, 16, 64)), len(content))
    return content[:head] + draw.randbytes(len(content) - head)


def hole(content: bytes, draw: random.Random) -> bytes:
    """As a disk leaves it that had no room: zeros."""
    start = draw.randrange(len(content))
    length = draw.randint(1, len(content) - start)
    return content[:start] + bytes(length) + content[start + length :]


def large_numbers(content: bytes, draw: random.Random) -> bytes:
    """0xff where a length may stand."""
    start = draw.randrange(min(len(content), 128))
    return content[:start] + b"\xff" * draw.choice((2, 4, 8)) + content[start + 8 :]


def repeated(content: bytes, draw: random.Random) -> bytes:
    return content + content


def mixed(content: bytes, draw: random.Random) -> bytes:
    """Its second half first."""
    return content[len(content) // 2 :] + content[: len(content) // 2]


WAYS: tuple[Damage, ...] = (
    cut, cut_short, flipped, flipped_head, empty, noise, noise_behind_head, hole, large_numbers, repeated, mixed,
)  # fmt: skip


def damaged(content: bytes, number: int) -> tuple[str, bytes]:
    """How, and the damaged content: a function of `number`."""
    way = WAYS[number % len(WAYS)]
    return way.__name__, way(content, random.Random(number))
