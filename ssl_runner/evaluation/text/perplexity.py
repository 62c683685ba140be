"""Perplexity of a language model on held-out text. T tokens of a window, N of the text, S of a stride."""

import math
from typing import Any, ClassVar, NamedTuple, cast

import torch
from torch import Tensor, nn

from ssl_runner.data.any.progress import tracked
from ssl_runner.evaluation.any.subject import TOLD, evaluating
from ssl_runner.evaluation.text.tokens import running_text, token_counts
from ssl_runner.figures import Lines
from ssl_runner.interfaces import DataSpec, Finding, Inspection, PredictsNext, Subject, TextSpec
from ssl_runner.nn.tokens import tokenizer_fingerprint
from ssl_runner.results.metrics import (
    Better,
    Metric,
    Protocol,
    Split,
    Unit,
    share,
)

SEAMS = 256  # windows that are scored again to see what seams cost


class Scored(NamedTuple):
    """The scores of a split."""

    running: bool  # whether examples go on from each other
    window: int  # T
    stride: int | None  # S; None where they do not
    nats: float  # of all that was scored
    tokens: int  # that were scored
    by_context: Tensor  # (T - 1,) nats per token
    seam: float  # nats per token
    unigram: float  # nats per token
    unknown: float  # share of the tokens


class Perplexity(Inspection):
    """Score each token of "test" and of "val" but the first once, given those before it in its window.

        perplexity = exp(mean of -log p(t_n | before it))

    Windows are as long as in training, and each is `stride` of a window further on than the one before: its last
    tokens are scored, the others are context. So every token after the first window is given at least T - S tokens,
    S = stride * (T - 1). `seam_cost` is what that costs at most, if context is worth less the more there is: the first
    half of the tokens that a window scores, which have the least, would be this much more likely with half a stride
    more of it, in nats per token; the other half has that already. Of examples that do not go on from each other
    (sentences) each is scored by itself.

    Metrics, on both: perplexity, per token; perplexity_unigram, of the frequencies in "train" (plus one) alone, which
    is to be beaten; of running text, perplexity_word and bits_per_character; unknown, the part of the tokens that are
    [UNK]; seam_cost.

        perplexity_word = exp(N l / words),   bits_per_character = N l / (ln 2 characters),   l: nats per scored token

    N is the number of all tokens of the split, ends of sentences among them; words and characters are those of its text
    before it was cut in tokens. The tokens that are not scored (the first one, those after the last whole window, those
    after the first `tokens`) are taken to cost as much as the others. Perplexities per token compare for one tokenizer
    and vocabulary. Bits per character compare across tokenizers, as far as none of them has [UNK]: to foresee that some
    rare word comes is easier than which one (Mielke 2019, https://sjmielke.com/comparing-perplexities.htm).
    """

    reads: ClassVar[type[DataSpec]] = TextSpec
    presentation: ClassVar[frozenset[str]] = frozenset({"batch_size"})

    def __init__(self, *, stride: float, tokens: int, batch_size: int) -> None:
        if not 0 < stride <= 1:
            raise ValueError(f"evaluation.perplexity.stride is {stride}; it must be a share of a window, in (0, 1]")
        for key, value, least in (("tokens", tokens, 2), ("batch_size", batch_size, 1)):
            if value < least:
                raise ValueError(f"evaluation.perplexity.{key} is {value}; it must be at least {least}")
        self.stride = stride
        self.tokens = tokens
        self.batch_size = batch_size

    def __call__(self, objective: PredictsNext, subject: Subject) -> Finding:
        spec = cast(TextSpec, subject.data.spec)
        scored = {split: self._split(objective, subject, split) for split in TOLD}
        found = scored["test"]
        return Finding(
            [metric for split, each in scored.items() for metric in measured(each, spec, split)],
            Protocol(
                terms={
                    "method": "perplexity",
                    "context": "running text" if found.running else "each example by itself",
                },
                measured={
                    "window": found.window,
                    "stride in tokens": found.stride,
                    **{f"{split} tokens": each.tokens for split, each in scored.items()},
                    "vocabulary": spec.vocabulary,
                    "seed": subject.seed,
                },
            ),
            {
                "what context is worth": Lines(
                    x=range(1, found.window),
                    y={"test": found.by_context.tolist()},
                    x_label="tokens before it in its window",
                    y_label="nats per token",
                    note="Loss of a token as a function of the number of context tokens.",
                )
            },
        )

    def _split(self, objective: PredictsNext, subject: Subject, split: Split) -> Scored:
        """Score a split. Raises ValueError where that is not finite."""
        model = cast(nn.Module, objective).to(subject.device)
        special, data = cast(TextSpec, subject.data.spec).special, subject.data.examples(split).data
        length = data.shape[1]
        stride = max(1, round(self.stride * (length - 1)))
        text = running_text(data, special.pad)
        if text is None:
            windows = data[: max(1, self.tokens // length)]
            fresh = torch.full((len(windows),), length - 1)
        else:
            taken = text[: max(self.tokens, length)]
            windows, fresh = cut(taken, length, stride)
        with evaluating(model), torch.inference_mode():
            nats, count, by_context = self._score(objective, windows, fresh, special.pad, subject.device)
            seam = 0.0 if text is None else self._seam(objective, taken, length, stride, subject.device)
        if not math.isfinite(nats):
            raise ValueError(f"a token of {split} has probability 0 or NaN: perplexity is not finite")
        targets = _targets(windows, fresh, special.pad)
        return Scored(
            running=text is not None,
            window=length,
            stride=None if text is None else stride,
            nats=nats,
            tokens=count,
            by_context=by_context,
            seam=seam,
            unigram=_unigram(token_counts(subject), targets),
            unknown=(targets == special.unk).double().mean().item(),
        )

    def _score(
        self, objective: PredictsNext, windows: Tensor, fresh: Tensor, pad: int, device: torch.device
    ) -> tuple[float, int, Tensor]:
        """The nats of the last `fresh` (n,) tokens of each window, their number, and the mean by place (T - 1,)."""
        places = windows.shape[1] - 1
        nats, count = 0.0, 0
        sums, seen = torch.zeros(places, dtype=torch.float64), torch.zeros(places, dtype=torch.float64)
        parts = list(zip(windows.split(self.batch_size), fresh.split(self.batch_size), strict=True))
        for part, new in tracked(parts, "windows"):
            loss = -objective.log_likelihood(part.long().to(device)).cpu().double()
            real = part[:, 1:] != pad
            once = real & (torch.arange(places) >= places - new[:, None])
            nats += loss[once].sum().item()
            count += int(once.sum())
            sums += (loss * real).sum(dim=0)
            seen += real.sum(dim=0)
        return nats, count, sums / seen.clamp(min=1)

    def _seam(self, objective: PredictsNext, text: Tensor, length: int, stride: int, device: torch.device) -> float:
        """The mean gain of the first half of the tokens that windows score from half a stride more of context."""
        half = stride // 2
        starts = torch.arange(stride, max(stride, len(text) - length + 1), stride)[:SEAMS]
        if not len(starts) or not half:
            return 0.0
        first = length - 1 - stride  # place of the first token that a window scores
        gain = 0.0
        for part in starts.split(self.batch_size):
            near, far = (
                objective.log_likelihood(text.unfold(0, length, 1)[begin].long().to(device)).cpu().double()
                for begin in (part, part - half)
            )
            gain += (far[:, first + half : first + 2 * half] - near[:, first : first + half]).sum().item()
        return gain / (half * len(starts))


def measured(scored: Scored, spec: TextSpec, split: Split) -> list[Metric]:
    """The metrics of a split: per token, which depend on the tokenizer, and per word and character, which do not."""
    of: dict[str, Any] = {"split": split, "terms": {"tokenizer": tokenizer_fingerprint(spec)}}

    def plain(name: str, value: float, better: Better, **fields: Any) -> Metric:
        return Metric(name=name, value=value, unit=Unit.PLAIN, better=better, **fields)

    found = [
        plain("perplexity", _exp(scored.nats / scored.tokens), Better.LOWER, headline=True, **of),
        plain("perplexity_unigram", _exp(scored.unigram), Better.NEITHER, **of),
    ]
    if scored.running and (tokens := spec.tokens.get(split)):
        whole = scored.nats / scored.tokens * tokens
        if words := spec.words.get(split):
            found.append(plain("perplexity_word", _exp(whole / words), Better.LOWER, split=split))
        if characters := spec.characters.get(split):
            bits = whole / math.log(2) / characters
            found.append(
                Metric(name="bits_per_character", value=bits, unit=Unit.BITS, better=Better.LOWER, split=split)
            )
    return [
        *found,
        share("unknown", scored.unknown, better=Better.NEITHER, **of),
        Metric(name="seam_cost", value=scored.seam, unit=Unit.NATS, better=Better.NEITHER, **of),
    ]


def cut(text: Tensor, length: int, stride: int) -> tuple[Tensor, Tensor]:
    """(N,) -> (n, T) windows, each `stride` after the one before, the last at the end of the text, and (n,) how many
    tokens at the end of each no window before it has. A text shorter than T is one window.

    >>> cut(torch.arange(9), 5, 3)
    (tensor([[0, 1, 2, 3, 4],
            [3, 4, 5, 6, 7],
            [4, 5, 6, 7, 8]]), tensor([4, 3, 1]))
    """
    length = min(length, len(text))
    starts = torch.arange(0, len(text) - length + 1, stride)
    if starts[-1] + length < len(text):
        starts = torch.cat([starts, torch.tensor([len(text) - length])])
    return text.unfold(0, length, 1)[starts], starts.diff(prepend=torch.tensor([1 - length]))


def _targets(windows: Tensor, fresh: Tensor, pad: int) -> Tensor:
    """(tokens,) int64: those that are scored."""
    places = windows.shape[1] - 1
    once = torch.arange(places) >= places - fresh[:, None]
    following = windows[:, 1:].long()
    return following[once & (following != pad)]


def _unigram(counts: Tensor, targets: Tensor) -> float:
    """Nats per token by the frequencies in train, each count one higher: no token has probability 0."""
    log_p = (counts + 1).double().log() - (counts.sum() + len(counts) - 1).double().log()  # padding is no token
    return -log_p[targets].mean().item()


def _exp(nats: float) -> float:
    return math.exp(min(nats, 700.0))  # what a float can hold
