"""Made texts whose rule changes with each text. n texts of S examples, K kinds of words."""

from collections.abc import Mapping
from functools import cached_property

import torch

from ssl_runner.data.any.splits import hold_out
from ssl_runner.data.text.tokens import SPECIAL, word_tokenizer
from ssl_runner.interfaces import Contents, DataSource, Examples, SpecialTokens, SplitName, Task, TextSpec

MARK = ";"  # after each example


class InContext(DataSource):
    """Texts [CLS] word label ; word label ; ... [SEP] of `shots` + 1 examples, a new rule in each.

        label of a word = rule[kind of the word],   rule[kind] ~ uniform over the labels, drawn for each text

    The words of a text are drawn uniformly, each by itself, so that one may come again.
    Which words are of one kind can only be learned over many texts, and the rule of a text only from its examples.
    So who has understood both labels the next word right with probability

        1/L + (1 - 1/L) (1 - (1 - 1/K)^k)          after k examples, of L labels

    which rises with k, and who has not, with 1/L. The three tokens before a label are the last label, ";" and the word:
    n-grams of four tokens see no other example whole. After the made tasks of Chan, Santoro, Lampinen, Wang, Singh,
    Richemond, McClelland, Hill 2022, https://arxiv.org/abs/2205.05055, and the associative recall of Olsson et al.
    2022, https://arxiv.org/abs/2209.11895.
    """

    def __init__(
        self,
        *,
        examples: int,
        test_examples: int,
        kinds: int,
        words: int,
        labels: int,
        shots: int,
        val_fraction: float,
        seed: int,
    ) -> None:
        least = {"examples": 2, "test_examples": 1, "kinds": 1, "words": 1, "labels": 2, "shots": 1}
        given = {
            "examples": examples, "test_examples": test_examples, "kinds": kinds, "words": words, "labels": labels,
            "shots": shots,
        }  # fmt: skip
        for name, value in given.items():
            if value < least[name]:
                raise ValueError(f"dataset.{name} is {value}; it must be at least {least[name]}")
        if not 0 < val_fraction < 1:
            raise ValueError(f"dataset.val_fraction is {val_fraction}; it must lie in (0, 1)")
        self.examples = examples
        self.test_examples = test_examples
        self.kinds = kinds
        self.labels = labels
        self.shots = shots
        self.val_fraction = val_fraction
        self.seed = seed
        self.words = tuple(f"{chr(ord('a') + kind % 26)}{kind}{n}" for kind in range(kinds) for n in range(words))
        self.names = tuple(f"L{n}" for n in range(labels))
        self.special = SpecialTokens()

    @property
    def spec(self) -> TextSpec:
        return self._spec

    @cached_property
    def _spec(self) -> TextSpec:
        ids = len(SPECIAL) + 1 + len(self.names) + len(self.words)
        return TextSpec(
            length=3 * (self.shots + 1) + 2,
            vocabulary=ids,
            example="document",
            tokenizer=word_tokenizer((MARK, *self.names, *self.words)),
            counts=tuple(self._splits["train"].data.flatten().bincount(minlength=ids).tolist()),
            tasks=True,
        )

    def check(self) -> None:
        """Nothing to check."""

    def contents(self) -> Contents:
        return {}

    def count(self) -> int:
        return self.examples - round(self.val_fraction * self.examples)

    def load(self) -> Mapping[SplitName, Examples]:
        return self._splits

    def tasks(self, split: SplitName) -> list[Task]:
        """`OfTasks.tasks`"""
        rows = self._splits[split].data[:, 1:-1].unflatten(1, (-1, 3))
        names = (*SPECIAL, MARK, *self.names, *self.words)
        return [
            Task([names[word] for word in words], [names[label] for label in labels])
            for words, labels in zip(rows[..., 0].tolist(), rows[..., 1].tolist(), strict=True)
        ]

    @cached_property
    def _splits(self) -> dict[SplitName, Examples]:
        generator = torch.Generator().manual_seed(self.seed)
        train, val = hold_out(self._draw(self.examples, generator), self.val_fraction, self.seed)
        return {"pretrain": train, "train": train, "val": val, "test": self._draw(self.test_examples, generator)}

    def _draw(self, n: int, generator: torch.Generator) -> Examples:
        rule = torch.randint(self.labels, (n, self.kinds), generator=generator)
        word = torch.randint(len(self.words), (n, self.shots + 1), generator=generator)
        label = rule.gather(1, word // (len(self.words) // self.kinds))
        first = len(SPECIAL) + 1
        mark = torch.full_like(word, len(SPECIAL))
        body = torch.stack([first + self.labels + word, first + label, mark], dim=2).flatten(1)
        begin, end = (torch.full((n, 1), each) for each in (self.special.cls, self.special.sep))
        return Examples(torch.cat([begin, body, end], dim=1).int(), torch.full((n,), -1))
