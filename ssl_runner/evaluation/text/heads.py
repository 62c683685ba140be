"""Linear heads on encoders of text: fitted to frozen features, or fine-tuned together with a copy of the encoder.

n examples, m features of them (of texts n; of tokens those asked for), T tokens, D width, L layers, K classes.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_runner.data.any.progress import tracked
from ssl_runner.evaluation.any.controls import BagOfWords
from ssl_runner.evaluation.any.logistic import Grid, LinearFit, fit_linear
from ssl_runner.evaluation.any.subject import evaluating, seeded, within_reach
from ssl_runner.evaluation.any.tuning import Classifier, Recipe, train
from ssl_runner.evaluation.text.data import TextSet, encode_texts
from ssl_runner.evaluation.text.reading import (
    Reader,
    Unit,
    read_texts,
    read_tokens,
    sample_features,
    text_encoder,
)
from ssl_runner.interfaces import CausalEncoder, Examples, SplitName, Subject, TextEncoder, TextSpec, VectorSpec
from ssl_runner.nn.layer_mix import LayerMix

MIX_RATE = 0.01  # of AdamW, for the weights of layers in front of a frozen encoder
BATCH = 256  # texts answered at once

Answer = Callable[[Sequence[tuple[str, ...]]], Tensor]  # texts -> (n, K) log p of their classes, or (n,) their scores


class Asked(NamedTuple):
    """Texts, the positions of m features in them, and the labels of these features."""

    ids: Tensor  # (n, T)
    label: Tensor  # (m,) int64
    row: Tensor  # (m,) int64, ascending: the text; of whole texts, each
    column: Tensor  # (m,) int64: the token; of whole texts, not read


def whole(ids: Tensor, label: Tensor) -> Asked:
    """One feature per text."""
    each = torch.arange(len(ids))
    return Asked(ids, label, each, torch.zeros_like(each))


def read(subject: Subject, reader: Reader, asked: Asked) -> Tensor:
    """(m, D) float32 on the CPU: frozen features."""
    if reader.unit == "text":
        return read_texts(subject, reader, asked.ids)
    return read_tokens(subject, reader, asked.ids, asked.row, asked.column)


class Probe(NamedTuple):
    """A linear classifier and the reader of its frozen features."""

    reader: Reader
    fit: LinearFit
    chosen: dict[str, Any]  # on val
    measured: dict[str, Any]

    def classes(self, subject: Subject, asked: Asked) -> Tensor:
        """(m,) int64"""
        return self.log_p(subject, asked).argmax(dim=1)

    def log_p(self, subject: Subject, asked: Asked) -> Tensor:
        """(m, K) of the classes"""
        return self.fit.logits(read(subject, self.reader, asked).to(subject.device)).log_softmax(dim=1).cpu()


def fit_probe(
    subject: Subject, layer: str, unit: Unit, asked: Mapping[SplitName, Asked], classes: int, grid: Grid
) -> Probe:
    """Softmax regression on frozen features of "train", chosen on "val" (`logistic.fit_linear`).

    layer=mix: the weights of the layers are learned first, on "train", with a head of their own (AdamW, as many batches
    as the grid has steps), and stay as they are for all settings of the grid.
    """
    encoder = text_encoder(subject.encoder)
    reader = Reader(encoder, layer, unit).to(subject.device)
    if reader.mix is not None:
        learn_mix(subject, reader.mix, unit, asked["train"], classes, grid)
    device = subject.device
    x = read(subject, reader, asked["train"])
    fit = fit_linear(
        x.to(device),
        asked["train"].label.to(device),
        read(subject, reader, asked["val"]).to(device),
        asked["val"].label.to(device),
        classes,
        grid,
        seed=subject.seed,
    )
    measured: dict[str, Any] = {"width": x.shape[1], "at the grid's edge": ", ".join(fit.at_edge)}
    if reader.mix is not None:
        measured["layer weights"] = [round(share, 4) for share in reader.mix.weight.softmax(0).tolist()]
    return Probe(reader, fit, fit.chosen, measured)


class ReadMix(nn.Module):
    """A weighted sum of given layers: (B, L, D) -> (B, D)."""

    def __init__(self, mix: nn.Module) -> None:
        super().__init__()
        self.mix = mix

    def forward(self, encoder: nn.Module, x: Tensor) -> Tensor:
        return self.mix(x.unbind(dim=1))


def learn_mix(subject: Subject, mix: LayerMix, unit: Unit, asked: Asked, classes: int, grid: Grid) -> None:
    """Learn the weights of layers, in place: AdamW on the cross-entropy of a linear head on the mixed features."""
    encoder = text_encoder(subject.encoder)
    layers = [Reader(encoder, str(-place), unit) for place in range(len(mix.weight), 0, -1)]
    stack = torch.stack([read(subject, each, asked) for each in layers], dim=1)
    recipe = Recipe(
        epochs=1,
        least_steps=grid.steps,
        batch_size=grid.batch_size,
        learning_rate=MIX_RATE,
        weight_decay=0.0,
        layer_decay=1.0,
    )
    with seeded(subject.seed):
        network = Classifier(nn.Identity(), stack.mean(dim=1), classes, ReadMix(mix)).to(subject.device)
        spec = VectorSpec(count=stack.shape[1], width=stack.shape[2])
        train(network, spec, Examples(stack, asked.label), recipe, subject.device)


def tune(
    subject: Subject,
    spec: TextSpec,
    layer: str,
    unit: Unit,
    examples: Examples,
    outputs: int,
    recipe: Recipe,
    loss: Callable[[Tensor, Tensor], Tensor],
    auxiliary: float = 0.0,
) -> Classifier:
    """Train a copy of the encoder with a linear head that reads a layer of it, on ids (n, T) and labels.

    As `tuning.fine_tune`; the head's input is standardized by frozen features of up to 1,024 of the examples.
    `auxiliary`: the weight of `language_loss`.
    """
    network = start(subject, copy.deepcopy(text_encoder(subject.encoder)), layer, unit, examples.data, outputs)
    also = language_loss(cast(TextEncoder, network.encoder), auxiliary) if auxiliary else None
    with seeded(subject.seed):
        train(network, spec, examples, recipe, subject.device, loss, also=also)
    return network


def language_loss(encoder: TextEncoder, weight: float) -> Callable[[Tensor], Tensor]:
    """Texts (B, T) -> `weight` times the mean of -log p(next token | tokens before it), nats per token: ().

    The auxiliary objective of Radford, Narasimhan, Salimans, Sutskever 2018, "Improving Language Understanding by
    Generative Pre-Training", section 3.2, there with weight 0.5. Scores are products with the token embeddings, as in
    `objectives.language_model` with `output: tied`, by an encoder whose width is theirs; a layer between, and the bias,
    are not exported. Texts are read a second time for it. Raises ValueError for an encoder that sees later tokens, or
    is of another width.
    """
    if not isinstance(encoder, CausalEncoder):
        raise ValueError(
            f"auxiliary is {weight}, the weight of a language model's loss, and the encoder is {encoder.kind}, which "
            "sees the next token: set auxiliary=0"
        )
    if encoder.embedding.weight.shape[1] != encoder.dim:
        raise ValueError(
            f"auxiliary is {weight}, and the encoder's tokens are {encoder.dim} wide, its embeddings "
            f"{encoder.embedding.weight.shape[1]}: a language model's loss needs an equal width; set auxiliary=0"
        )

    def loss(x: Tensor) -> Tensor:
        x = within_reach(encoder, x)
        scores = encoder(x[:, :-1]).tokens @ encoder.embedding.weight.T
        following = x[:, 1:]
        total = F.cross_entropy(
            scores.flatten(0, 1), following.flatten(), ignore_index=encoder.special.pad, reduction="sum"
        )
        return weight * total / (following != encoder.special.pad).sum().clamp(min=1)

    return loss


def check_auxiliary(key: str, auxiliary: float) -> None:
    """Raise ValueError for a weight below 0; `key`: the evaluator's."""
    if auxiliary < 0:
        raise ValueError(f"{key}.auxiliary is {auxiliary}; it must be 0 (none) or more")


def start(subject: Subject, encoder: nn.Module, layer: str, unit: Unit, ids: Tensor, outputs: int) -> Classifier:
    """A network of `encoder` (a copy of the subject's, or a frozen wrapper of it) and a zero-initialized head."""
    reader = Reader(text_encoder(subject.encoder), layer, unit).to(subject.device)
    frozen = sample_features(subject, reader, ids)
    with seeded(subject.seed):
        return Classifier(encoder, frozen, outputs, reader).to(subject.device)


def outputs_of(network: nn.Module, ids: Tensor, device: torch.device) -> Tensor:
    """(n, ...) on the CPU: outputs of a network in eval mode."""
    with evaluating(network), torch.inference_mode():
        parts = [network(part.long().to(device)).float().cpu() for part in tracked(ids.split(BATCH), "texts")]
    return torch.cat(parts)


def tuned_answer(
    subject: Subject, spec: TextSpec, texts: TextSet, layer: str, recipe: Recipe, auxiliary: float = 0.0
) -> Answer:
    """Train on the set's train; answer other texts. Cross-entropy of classes; squared error of standardized scores.

    `auxiliary`: the weight of `language_loss`."""
    ids, label = encode_texts(spec, texts.texts["train"]), texts.label["train"]
    check_enough(len(label))
    if texts.classes:
        examples, count = Examples(ids, label), len(texts.classes)
        network = tune(subject, spec, layer, "text", examples, count, recipe, F.cross_entropy, auxiliary)
        return lambda rows: outputs_of(network, encode_texts(spec, rows), subject.device).log_softmax(dim=1)
    std, mean = torch.std_mean(label, correction=0)
    std = torch.where(std > 0, std, 1.0)
    scores = Examples(ids, (label - mean) / std)
    regression = tune(subject, spec, layer, "text", scores, 1, recipe, squared_error, auxiliary)
    return lambda rows: outputs_of(regression, encode_texts(spec, rows), subject.device)[:, 0] * std + mean


def decided(said: Tensor) -> Tensor:
    """What an `Answer` says, as (n,): the most probable classes, int64, or the scores."""
    return said.argmax(dim=1) if said.ndim == 2 else said


def squared_error(outputs: Tensor, score: Tensor) -> Tensor:
    """(B, 1) and (B,) -> ()"""
    return F.mse_loss(outputs[:, 0], score)


def check_enough(n: int) -> None:
    if n < 2:
        raise ValueError(f"{n} labeled example is too few for fine-tuning; at least two are needed")


def is_control(subject: Subject) -> bool:
    """Whether the subject is the bag-of-words control."""
    return isinstance(subject.encoder, BagOfWords)
