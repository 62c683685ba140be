"""Continuations of a prompt by a language model. V ids of the vocabulary."""

from typing import ClassVar, cast

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from ssl_runner.evaluation.any.subject import evaluating, seeded
from ssl_runner.evaluation.text.tokens import beginning, readable
from ssl_runner.figures import Passages
from ssl_runner.interfaces import DataSpec, Finding, Inspection, PredictsNext, Subject, TextSpec
from ssl_runner.nn.tokens import tokenizer_fingerprint
from ssl_runner.results.metrics import Better, Protocol, share

GRAM = 4  # tokens of what counts as repeated


class TextSamples(Inspection):
    """Draw `samples` continuations of `prompt`, of `length` tokens, one token after the other.

        p(token) ~ exp(score / temperature),   of the `top_k` most probable tokens alone,
        of these the fewest whose p, set to sum to 1, sums to `top_p` or more

    null: no such limit. A token is drawn given as many before it as there were in training, at most; the text begins
    where a sentence does, and is shown up to the end of its document. Fan, Lewis, Dauphin 2018,
    https://arxiv.org/abs/1805.04833 (top k); Holtzman, Buys, Du, Forbes, Choi 2020, "The Curious Case of Neural Text
    Degeneration", https://arxiv.org/abs/1904.09751 (top p).

    Metrics: repeated, the part of the sequences of four tokens of a sample that it has had before (seq-rep-4 of
    Welleck, Kulikov, Roller, Dinan, Cho, Weston 2020, https://arxiv.org/abs/1908.04319), and repeated_in_texts: of as
    many passages of "test", as long. A model that goes round in circles is far above it, one that draws at random may
    be below: neither more nor less is better.
    """

    reads: ClassVar[type[DataSpec]] = TextSpec

    def __init__(
        self, *, prompt: str, samples: int, length: int, temperature: float, top_k: int | None, top_p: float | None
    ) -> None:
        if samples < 1:
            raise ValueError(f"evaluation.text_samples.samples is {samples}; it must be at least 1")
        if length < GRAM:
            raise ValueError(f"evaluation.text_samples.length is {length} tokens; it must be at least {GRAM}")
        if not temperature > 0:
            raise ValueError(
                f"evaluation.text_samples.temperature is {temperature}; it must be above 0 (greedy: top_k=1)"
            )
        if top_k is not None and top_k < 1:
            raise ValueError(f"evaluation.text_samples.top_k is {top_k}; it must be at least 1, or null")
        if top_p is not None and not 0 < top_p <= 1:
            raise ValueError(f"evaluation.text_samples.top_p is {top_p}; it must lie in (0, 1], or be null")
        self.prompt = prompt
        self.samples = samples
        self.length = length
        self.temperature = temperature
        self.top_k = top_k
        self.top_p = top_p

    def __call__(self, objective: PredictsNext, subject: Subject) -> Finding:
        model = cast(nn.Module, objective).to(subject.device)
        spec, test = cast(TextSpec, subject.data.spec), subject.data.examples("test").data
        tokenizer, special = Tokenizer.from_str(spec.tokenizer), spec.special
        prompt = tokenizer.encode(self.prompt, add_special_tokens=False).ids
        begin = [*beginning(spec, test), *prompt] or [int(test[0, 0])]
        tokens = torch.tensor([begin] * self.samples, device=subject.device)
        with evaluating(model), seeded(subject.seed), torch.inference_mode():
            for _ in range(self.length):
                logits = objective.next_logits(tokens[:, 1 - spec.length :]).float() / self.temperature
                following = limited(logits, self.top_k, self.top_p).softmax(dim=1).multinomial(1)
                tokens = torch.cat([tokens, following], dim=1)
        drawn = tokens[:, len(begin) :].cpu()
        real = test[: 1 + self.samples * self.length].flatten()  # more than enough rows
        real = real[real != special.pad][: self.samples * self.length]
        metrics = [share("repeated", repeated(drawn), better=Better.NEITHER, headline=True)]
        if len(real) >= self.length:
            passages = real[: len(real) // self.length * self.length].view(-1, self.length)
            metrics.append(share("repeated_in_texts", repeated(passages), better=Better.NEITHER))
        return Finding(
            metrics,
            Protocol(
                terms={"method": "samples of text", "tokenizer": tokenizer_fingerprint(spec)},
                measured={"seed": subject.seed},
            ),
            figures={
                "continuations": Passages(
                    {
                        "prompt": [self.prompt] * self.samples,
                        "continuation": [
                            readable(tokenizer, _document(row, special.sep), special) for row in drawn.tolist()
                        ],
                    },
                    note="Continuations of the prompt, sampled token by token.",
                )
            },
        )


def limited(logits: Tensor, top_k: int | None, top_p: float | None) -> Tensor:
    """(B, V) scores -> (B, V): those of the tokens that may be drawn, and -inf."""
    ordered, order = logits.sort(dim=1, descending=True, stable=True)
    if top_k is not None:
        ordered[:, top_k:] = -torch.inf
    if top_p is not None:
        p = ordered.softmax(dim=1)
        ordered = ordered.masked_fill(p.cumsum(dim=1) - p >= top_p, -torch.inf)  # those before it suffice
    return torch.empty_like(logits).scatter(1, order, ordered)


def repeated(tokens: Tensor) -> float:
    """(n, length) ids -> the part of all sequences of four tokens that are not new in their row."""
    grams = [[tuple(row[i : i + GRAM]) for i in range(len(row) - GRAM + 1)] for row in tokens.tolist()]
    return 1 - sum(len(set(row)) for row in grams) / sum(map(len, grams))


def _document(ids: list[int], sep: int) -> list[int]:
    """Up to the first end of a document."""
    return ids[: ids.index(sep)] if sep in ids else ids
