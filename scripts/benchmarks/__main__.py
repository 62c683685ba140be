"""Speed on this machine, each figure as a ratio within one run. The machine must be idle.

    python -m scripts.benchmarks TOPIC [options]   # from the root of the repository; TOPIC --help lists the options

`simclr`, `peers` and `text` compare with libraries of the extra `benchmark` (lightly, timm, transformers); `peers` also
with stable-pretraining, where that is installed. They run on a GPU where there is one, and need --steps 1000 there.
"""

import argparse
from collections.abc import Mapping
from typing import Protocol

from . import (
    checkpoints,
    gpu,
    growth,
    identity,
    memory,
    objectives,
    peers,
    precision,
    probe,
    simclr,
    startup,
    sweep,
    text,
    video,
    words,
)


class Topic(Protocol):
    """A module that measures one thing. The first line of its docstring is its help."""

    __doc__: str | None

    def options(self, parser: argparse.ArgumentParser) -> None:
        """Add the options of this topic."""

    def measure(self, arguments: argparse.Namespace) -> None:
        """Measure, and print a table."""


TOPICS: Mapping[str, Topic] = {
    "simclr": simclr,
    "peers": peers,
    "text": text,
    "words": words,
    "objectives": objectives,
    "precision": precision,
    "probe": probe,
    "startup": startup,
    "checkpoints": checkpoints,
    "identity": identity,
    "sweep": sweep,
    "growth": growth,
    "memory": memory,
    "video": video,
    "gpu": gpu,
}


def parser() -> argparse.ArgumentParser:
    """The command line: one topic, followed by its options."""
    shape = argparse.RawDescriptionHelpFormatter
    root = argparse.ArgumentParser(prog="python -m scripts.benchmarks", description=__doc__, formatter_class=shape)
    topics = root.add_subparsers(required=True, metavar="TOPIC")
    for name, topic in TOPICS.items():
        said = topic.__doc__ or ""
        one = topics.add_parser(name, description=said, help=said.splitlines()[0], formatter_class=shape)
        topic.options(one)
        one.set_defaults(measure=topic.measure)
    return root


def main() -> None:
    arguments = parser().parse_args()
    arguments.measure(arguments)


if __name__ == "__main__":
    main()
