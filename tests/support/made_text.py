"""Small made texts, for tests of what reads text."""

import random
import tempfile
from functools import cache
from pathlib import Path

KINDS = {
    "who": ("the cat", "a dog", "the old man", "my sister", "the king", "one bird"),
    "does": ("sees", "likes", "finds", "follows", "fears"),
    "whom": ("a mouse", "the moon", "the river", "his house", "a song", "the market"),
    "when": ("today", "at night", "in spring", "again and again"),
}


def sentence(draw: random.Random) -> str:
    return f"{' '.join(draw.choice(words) for words in KINDS.values())}.".capitalize()


def text(documents: int, seed: int = 0) -> str:
    """Documents of 3 to 8 sentences, blank lines between them."""
    draw = random.Random(seed)
    return "\n\n".join("\n".join(sentence(draw) for _ in range(draw.randint(3, 8))) for _ in range(documents))


def words() -> set[str]:
    return {word for parts in KINDS.values() for part in parts for word in part.split()}


@cache
def folder() -> Path:
    """A folder with text.txt, and where texts are cached."""
    place = Path(tempfile.mkdtemp(prefix="made-text-"))
    (place / "text.txt").write_text(text(60))
    return place


def overrides() -> list[str]:
    """A dataset for the command line: 60 documents, in words, windows of 24 tokens."""
    return [
        "dataset=text_file", f"dataset.path={folder() / 'text.txt'}", "dataset.documents=blank_lines",
        f"dataset.cache={folder() / 'cache'}", "dataset.tokens=words", "dataset.vocabulary=40", "dataset.length=24",
        "dataset.test_fraction=0.1", "dataset.val_fraction=0.1",
    ]  # fmt: skip
