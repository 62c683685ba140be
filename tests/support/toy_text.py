"""A small text of which all is known, for tests of evaluations."""

from typing import cast

import torch
from special_ids import EOS, PAD, SPECIAL
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn

from ssl_runner.evaluation.any.subject import FrozenSubject
from ssl_runner.interfaces import Encoder, Examples, TextSpec

WORDS = ("the", "cat", "sat", "on", "a", "mat", ".")
VOCABULARY = len(SPECIAL) + len(WORDS)


def tokenizer() -> str:
    known = {word: i for i, word in enumerate((*SPECIAL, *WORDS))}
    made = Tokenizer(models.WordLevel(known, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return made.to_str()


def windows(ids: Tensor, length: int) -> Tensor:
    """Views that overlap by one token, as those of a corpus."""
    return ids.as_strided(((len(ids) - 1) // (length - 1), length), (length - 1, 1))


class Corpus:
    """Random tokens; a sixth of them end a sentence."""

    def __init__(self, length: int = 9, tokens: int = 157, words: int = 100, characters: int = 500) -> None:
        self.spec = TextSpec(
            length=length,
            vocabulary=VOCABULARY,
            tokenizer=tokenizer(),
            tokens=dict.fromkeys(("val", "test"), tokens),
            words=dict.fromkeys(("val", "test"), words) if words else {},
            characters=dict.fromkeys(("val", "test"), characters) if characters else {},
        )
        generator = torch.Generator().manual_seed(0)
        self.streams = {}
        for split, count in {"train": 3 * tokens, "test": tokens, "val": tokens}.items():
            ids = torch.randint(len(SPECIAL), VOCABULARY, (count,), generator=generator, dtype=torch.int32)
            self.streams[split] = ids.masked_fill(torch.rand(count, generator=generator) < 1 / 6, EOS)
        self.splits = {split: rows(windows(ids, length)) for split, ids in self.streams.items()}

    def examples(self, split: str) -> Examples:
        return self.splits[split]


def rows(data: Tensor) -> Examples:
    return Examples(data, torch.full((len(data),), -1))


class Bigrams(nn.Module):
    """The next token by the last one alone, from a table of probabilities (V, V)."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        scores = torch.randn(VOCABULARY, VOCABULARY, generator=torch.Generator().manual_seed(seed)).double()
        scores[:, PAD] = -torch.inf
        self.log_p = nn.Parameter(scores.log_softmax(1), requires_grad=False)

    def log_likelihood(self, tokens: Tensor) -> Tensor:
        return self.log_p[tokens[:, :-1], tokens[:, 1:]].masked_fill(tokens[:, 1:] == PAD, 0)

    def next_logits(self, tokens: Tensor) -> Tensor:
        return self.log_p[tokens[:, -1]] + 3


def subject(data: Corpus, seed: int = 0) -> FrozenSubject:
    device = torch.device("cpu")
    encoder = cast(Encoder, nn.Identity())  # nothing is asked of it
    return FrozenSubject(encoder, data, seed=seed, device=device, batch_size=4)
