"""Which tokens does each token look at? B texts, T tokens, H heads of a block."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Literal, cast

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from ssl_runner.evaluation.any.subject import TOLD, batches, evaluating, seeded, within_reach
from ssl_runner.evaluation.text.tokens import beginning
from ssl_runner.figures import Figure, HeatMap
from ssl_runner.interfaces import Encoder, Evaluator, Finding, Subject, TextEncoder, TextSpec
from ssl_runner.nn.transformer import Attention
from ssl_runner.results.metrics import Better, Metric, Protocol, Split, Unit, description, share

KEY = "evaluation.attention"
BATCH = 50  # texts at once
MOST = 16  # maps that are drawn


class AttentionMaps(Evaluator):
    """Draw the attention of each block of a Transformer on a sentence, and measure it on texts of a split.

        a = softmax(q k^T / sqrt(d)),   a row for each token that looks, a column for each that is looked at

    Metrics of each block, means over tokens, heads and up to `examples` texts: distance, how many tokens apart what is
    looked at lies; entropy, nats (log T: all alike); previous, the share on the token before. Padding neither looks nor
    is looked at. Vaswani et al. 2017, "Attention Is All You Need", https://arxiv.org/abs/1706.03762, figures 3 to 5;
    measured as in Clark, Khandelwal, Levy, Manning 2019, "What Does BERT Look At?", https://arxiv.org/abs/1906.04341.
    What a token looks at is no explanation of what the network says (Jain, Wallace 2019,
    https://arxiv.org/abs/1902.10186).
    """

    needs_labels: ClassVar[bool] = False
    encoders: ClassVar[tuple[type[Encoder], ...]] = (TextEncoder,)
    reads: ClassVar[type[Any]] = TextSpec
    pixels_are_control: ClassVar[bool] = False
    presentation: ClassVar[frozenset[str]] = frozenset({"text", "heads"})

    def __init__(self, *, text: str | None, heads: Literal["mean", "each"], examples: int) -> None:
        if text is not None and not text.strip():
            raise ValueError(f"{KEY}.text is empty; it must be a sentence to draw attention on, or null")
        if heads not in ("mean", "each"):
            raise ValueError(f"{KEY}.heads is {heads}; it must be mean or each")
        if examples < 1:
            raise ValueError(f"{KEY}.examples is {examples}; it must be at least 1")
        self.text = text
        self.heads = heads
        self.examples = examples

    def check_encoder(self, encoder: Encoder, spec: TextSpec) -> None:
        if not attentions(encoder):
            raise ValueError(
                f"{KEY} draws Transformers of this project (bert_tiny, gpt_tiny and their sizes), and this encoder is "
                f"{encoder.kind} without their attention; omit evaluation=attention"
            )

    def __call__(self, subject: Subject) -> Finding:
        spec = cast(TextSpec, subject.data.spec)
        self.check_encoder(subject.encoder, spec)
        metrics: list[Metric] = []
        with evaluating(subject.encoder), seeded(subject.seed), torch.inference_mode():
            for split in TOLD:
                metrics += self._measured(subject, spec, split)
            figures = self._drawn(subject, spec)
        return Finding(
            metrics,
            Protocol(
                terms={"method": "attention weights"},
                measured={
                    **{f"{split} texts": self._count(subject, split) for split in TOLD},
                    "seed": subject.seed,
                },
            ),
            figures,
        )

    def _count(self, subject: Subject, split: Split) -> int:
        return min(self.examples, len(subject.data.examples(split).label))

    def _measured(self, subject: Subject, spec: TextSpec, split: Split) -> Iterator[Metric]:
        """Of each block, over random texts of a split."""
        order = torch.randperm(len(subject.data.examples(split).label))[: self.examples]
        blocks = len(attentions(subject.encoder))
        sums = torch.zeros(blocks, 3, dtype=torch.float64)
        count = 0.0
        for batch in batches(subject, split, order, BATCH):
            x = within_reach(subject.encoder, batch.data)
            looks = x != spec.special.pad
            count += float(looks.sum())
            for block, weights in enumerate(weights_of(subject.encoder, x)):
                sums[block] += moments(weights, looks).cpu()
        for block, (distance, entropy, previous) in enumerate((sums / count).tolist(), start=1):
            about: dict[str, Any] = {"split": split, "condition": {"block": block}}
            yield description("distance", distance, headline=True, **about)
            yield Metric(name="entropy", value=entropy, unit=Unit.NATS, better=Better.NEITHER, **about)
            yield share("previous", previous, better=Better.NEITHER, **about)

    def _drawn(self, subject: Subject, spec: TextSpec) -> dict[str, Figure]:
        """A map of each block, or of each head of it, as far as there is room."""
        tokenizer = Tokenizer.from_str(spec.tokenizer)
        first = subject.data.examples("test").data
        ids = first[0][first[0] != spec.special.pad].tolist()
        if self.text is not None:
            ids = [*beginning(spec, first), *tokenizer.encode(self.text, add_special_tokens=False).ids]
        x = within_reach(subject.encoder, torch.tensor([ids], device=subject.device))
        names = [tokenizer.id_to_token(each) or "" for each in x[0].tolist()]
        figures: dict[str, Figure] = {}
        for block, weights in enumerate(weights_of(subject.encoder, x), start=1):
            of_heads = weights[0].float().cpu()
            if self.heads == "mean":
                figures[f"block {block}"] = _map(of_heads.mean(dim=0), names, "mean over its heads")
            else:
                for head, each in enumerate(of_heads, start=1):
                    figures[f"block {block}, head {head}"] = _map(each, names, "one head")
        return dict(list(figures.items())[:MOST])


def _map(weights: Tensor, names: list[str], whose: str) -> HeatMap:
    """(T, T) -> its drawing."""
    return HeatMap(
        rows=names,
        columns=names,
        values=(100 * weights).numpy(),
        row_label="token that looks",
        column_label="token that is looked at",
        decimals=0,
        span=(0.0, 100.0),
        note=f"Attention in %, {whose}; each row sums to 100.",
    )


def attentions(encoder: nn.Module) -> list[Attention]:
    """The attention of each block, in order."""
    return [part for part in encoder.modules() if isinstance(part, Attention)]


def weights_of(encoder: nn.Module, x: Tensor) -> list[Tensor]:
    """(B, T) ids -> for each block (B, H, T, T), which sums to 1 over the last dimension."""
    found: list[Tensor] = []
    with _watched(encoder, found):
        encoder(x)
    return found


@contextmanager
def _watched(encoder: nn.Module, found: list[Tensor]) -> Iterator[None]:
    """Keep what each attention computes of its input: the fused kernel does not give it."""

    def keep(attention: Attention, inputs: tuple[Any, ...]) -> None:
        found.append(_weights(attention, *inputs))

    handles = [part.register_forward_pre_hook(cast(Any, keep)) for part in attentions(encoder)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _weights(attention: Attention, x: Tensor, seen: Tensor | None = None, rows: Tensor | None = None) -> Tensor:
    """(B, N, D) -> (B, H, N, N), as `nn.transformer.Attention` weighs values; of all tokens, whatever `rows` are."""
    b, n, d = x.shape
    width = d // attention.heads
    q, k, _ = attention.qkv(x).view(b, n, 3, attention.heads, width).permute(2, 0, 3, 1, 4)
    scores = q @ k.mT / width**0.5
    if seen is not None:
        scores = scores.masked_fill(~seen, -torch.inf)
    if attention.causal:
        later = torch.ones(n, n, dtype=torch.bool, device=x.device).triu(1)
        scores = scores.masked_fill(later, -torch.inf)
    return scores.softmax(dim=-1)


def moments(weights: Tensor, looks: Tensor) -> Tensor:
    """(B, H, T, T) and (B, T) bool -> (3,) float64: distance, entropy and share on the token before, each a mean over
    heads and a sum over the tokens that look."""
    weights = weights.double()
    place = torch.arange(weights.shape[-1], device=weights.device)
    apart = (place[:, None] - place).abs().double()
    before = (place[:, None] - 1 == place).double()
    each = torch.stack(
        [(weights * apart).sum(dim=-1), torch.special.entr(weights).sum(dim=-1), (weights * before).sum(dim=-1)]
    )
    return (each.mean(dim=2) * looks).sum(dim=(1, 2))
