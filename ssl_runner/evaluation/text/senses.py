"""Word-sense disambiguation: whether contextual vectors separate the senses of a word.

n sentences of a word, D width.
"""

from importlib.resources import files
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from ssl_runner.evaluation.any.subject import TOLD, evaluating
from ssl_runner.evaluation.text.data import check_length, cut_share, fingerprint_of, padded, tokenizer_of
from ssl_runner.evaluation.text.reading import (
    Reader,
    finite,
    named_token_layer,
    reading,
    text_encoder,
    text_spec,
)
from ssl_runner.figures import Bars
from ssl_runner.interfaces import DataSpec, Evaluator, Finding, Subject, TextSpec
from ssl_runner.results.metrics import Better, Metric, Protocol, Split, share

FOLDS = 4  # of the sentences of a sense
MARK = "*"  # on both sides of the word in question


class Use(NamedTuple):
    """A sentence with an ambiguous word, and its sense."""

    word: str
    sense: str
    before: str  # the sentence up to the word
    after: str

    @property
    def sentence(self) -> str:
        return f"{self.before}{self.word}{self.after}"


class Found(NamedTuple):
    """The vectors of the uses of a word."""

    contextual: Tensor  # (n, D): the mean over its tokens
    static: Tensor  # (n, E): the mean of its rows of the embedding
    sense: Tensor  # (n,) 0 or 1


class Senses(Evaluator):
    """Name the sense of an ambiguous word from the vector of that word in a sentence: contextual, or static.

        sense of z = that of the nearer mean,   z: standardized by the sentences learned from

    For each of the words, a classifier by nearest mean learns from three quarters of the sentences of both senses and
    names the others, each in turn; of two equally near means each is half right. The sentences were written for this
    probe: senses.tsv, as many of both senses, the word always in lower case and in one form. So the static vector, a
    row of `encoder.embedding`, is the same in all of them and names half. What is above that comes from the context.
    Words that the tokenizer does not know are left out, and those that stand beyond the first `length` tokens
    (`text_layers.text_spec`) of a sentence. `layer`: "-1", or a block counted from the end. "val" is other sentences,
    half as many (senses_val.tsv), that are learned from and named among themselves alone. Metrics, in [0, 1], on both:
    accuracy of the contextual vector, the mean over words, and of each word; static_accuracy; chance_accuracy.
    """

    needs_labels: ClassVar[bool] = False  # of the data that were pretrained on
    reads: ClassVar[type[DataSpec]] = TextSpec
    pixels_are_control: ClassVar[bool] = False  # a bag of words has no vector of one of them

    def __init__(self, *, length: int, layer: str | int) -> None:
        check_length("evaluation.senses", length, least=3)
        self.length = length
        if layer == "mix":
            raise ValueError(
                "evaluation.senses.layer is mix; there are too few sentences to learn layer weights; name one layer"
            )
        self.layer = named_token_layer("evaluation.senses.layer", layer)

    def __call__(self, subject: Subject) -> Finding:
        texts = {split: senses_text(split) for split in TOLD}
        spec = text_spec(subject, self.length)
        found: dict[Split, dict[str, Found]] = {}
        sentences = {}
        for split, text in texts.items():
            words: dict[str, list[Use]] = {}
            for use in read_uses(text):
                words.setdefault(use.word, []).append(use)
            every = {word: vectors(subject, spec, uses, self.layer) for word, uses in words.items()}
            found[split] = {word: each for word, each in every.items() if each is not None}
            sentences[split] = [(use.sentence,) for word in found[split] for use in words[word]]
        names = [word for word in found["test"] if word in found["val"]]
        if not names:
            raise ValueError(f"the tokenizer's vocabulary has none of the words {', '.join(words)}")
        metrics: list[Metric] = []
        for split, known in found.items():
            contextual = {word: nearest_mean(known[word].contextual, known[word].sense) for word in names}
            static = {word: nearest_mean(known[word].static, known[word].sense) for word in names}
            of: dict[str, Any] = {"split": split, "terms": {"words": names}}
            metrics += [
                share("accuracy", sum(contextual.values()) / len(names), headline=True, **of),
                share("static_accuracy", sum(static.values()) / len(names), better=Better.NEITHER, **of),
                share("chance_accuracy", 0.5, better=Better.NEITHER, **of),
                *(share("accuracy", contextual[word], split=split, condition={"word": word}) for word in names),
            ]
            if split == "test":
                shown = {"accuracy": [100 * contextual[word] for word in names]}
                references = {"accuracy": [100 * static[word] for word in names]}
        return Finding(
            metrics,
            Protocol(
                terms={
                    "method": "nearest mean of a word's vectors",
                    "folds": FOLDS,
                    "files": fingerprint_of(text.encode() for text in texts.values()),
                },
                measured={
                    **{
                        f"{split} examples": sum(len(known[word].sense) for word in names)
                        for split, known in found.items()
                    },
                    **reading(spec, cut_share(spec, sentences["test"])),
                    "seed": subject.seed,
                },
            ),
            {
                "accuracy by word": Bars(
                    labels=names,
                    values=shown,
                    value_label="senses named right, %",
                    references=references,
                    note="Bars: from the contextual vector of the word; marks: from its static embedding.",
                )
            },
        )


def senses_text(split: Split) -> str:
    """senses.tsv, or senses_val.tsv, as the package ships it: word, sense, sentence."""
    name = {"test": "senses.tsv", "val": "senses_val.tsv"}[split]
    return files("ssl_runner.evaluation.text").joinpath(name).read_text(encoding="utf-8")


def read_uses(text: str) -> list[Use]:
    """Of lines "word, sense, sentence" parted by tabs, the word between marks."""
    uses = []
    for line in text.splitlines():
        word, sense, sentence = line.split("\t")
        before, _, after = sentence.split(MARK)
        uses.append(Use(word, sense, before, after))
    return uses


def vectors(subject: Subject, spec: TextSpec, uses: list[Use], layer: str) -> Found | None:
    """The vectors of a word in its sentences; None where the tokenizer does not know it, or cuts it off."""
    encoder = text_encoder(subject.encoder)
    tokenizer, special = tokenizer_of(spec), spec.special
    sentences = [use.sentence for use in uses]
    rows, held = [], []
    for use, encoding in zip(uses, tokenizer.encode_batch(sentences, add_special_tokens=False), strict=True):
        first, last = len(use.before), len(use.before) + len(use.word)
        within = [
            place + 1
            for place, (start, end) in enumerate(encoding.offsets[: spec.length - 2])
            if start < last and end > first
        ]
        row = [special.cls, *encoding.ids[: spec.length - 2], special.sep]
        if not within or any(row[place] == special.unk for place in within):
            return None
        rows.append(row)
        held.append(within)
    ids = padded(rows, special.pad).long().to(subject.device)
    share = torch.zeros(ids.shape, dtype=torch.float32, device=subject.device)  # of each token in the word's vector
    for place, within in enumerate(held):
        share[place, within] = 1 / len(within)
    with evaluating(encoder), torch.inference_mode():
        tokens = Reader(encoder, layer, "token")(encoder, ids).float()
        found = [(share[:, None] @ each).squeeze(1).double().cpu() for each in (tokens, encoder.embedding(ids).float())]
    contextual, static = (finite(each.clone()) for each in found)
    senses = sorted({use.sense for use in uses})
    return Found(contextual, static, torch.tensor([senses.index(use.sense) for use in uses]))


def nearest_mean(x: Tensor, sense: Tensor) -> float:
    """(n, D), (n,) of 0 and 1, as many of both -> the share named right, in folds: the k-th sentence of a sense is in
    fold k modulo 4. Vectors that are as near to both means count a half."""
    fold = torch.empty_like(sense)
    for each in (0, 1):
        fold[sense == each] = torch.arange(int((sense == each).sum())) % FOLDS
    right = 0.0
    for number in range(FOLDS):
        learned = fold != number
        std, mean = torch.std_mean(x[learned], dim=0, correction=0)
        z = (x - mean) / torch.where(std > 1e-6 * x.abs().max(), std, torch.inf)
        means = [z[learned & (sense == each)].mean(dim=0) for each in (0, 1)]
        margin = (z[~learned] - (means[0] + means[1]) / 2) @ (means[1] - means[0])  # above 0: nearer to the second
        margin = torch.where(sense[~learned] == 1, margin, -margin)
        right += (margin > 1e-9).sum().item() + 0.5 * (margin.abs() <= 1e-9).sum().item()
    return right / len(sense)
