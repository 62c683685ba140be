"""Named-entity recognition: tags of words, scored as in the CoNLL shared tasks.

n sentences, W words of all of them, m of these within T tokens, K tags.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_runner.evaluation.any.logistic import Grid
from ssl_runner.evaluation.any.scores import chunk_scores
from ssl_runner.evaluation.any.subject import TOLD
from ssl_runner.evaluation.any.tuning import Recipe
from ssl_runner.evaluation.text.bag_of_words import frequent_tags
from ssl_runner.evaluation.text.data import (
    Files,
    Tagged,
    WordTokens,
    encode_words,
    fingerprint,
    held_out,
    read_conll,
)
from ssl_runner.evaluation.text.files import OfFiles, Splits
from ssl_runner.evaluation.text.heads import (
    Asked,
    check_auxiliary,
    check_enough,
    decided,
    fit_probe,
    is_control,
    outputs_of,
    tune,
)
from ssl_runner.evaluation.text.reading import named_token_layer, reading, text_spec
from ssl_runner.interfaces import Examples, Finding, SplitName, Subject, TextSpec
from ssl_runner.results.metrics import Metric, Protocol, Split, share
from ssl_runner.results.predictions import Predictions

NEAR = 4  # words on each side of one that are shown with it
NO_TAG = -1  # of tokens that begin no word


class TaggedSet(NamedTuple):
    """A set of sentences of tagged words, with a val."""

    splits: dict[SplitName, Tagged]
    tags: tuple[str, ...]  # O first
    fingerprint: str
    filler: str = "O"  # the tag of words that the encoder does not read
    entities: bool = True  # whether tags are of entities, B-type and I-type; else each is of one word


class _OfWords(OfFiles):
    """The base class of both taggers."""

    terms: ClassVar[Mapping[str, Any]]  # of the protocol, of every subject

    def __init__(self, *, path: str, texts: Splits, length: int, layer: str | int) -> None:
        self.layer = named_token_layer(f"{self.key}.layer", layer)
        super().__init__(path=path, texts=texts, length=length, least=3)
        self.sentences = self._sentences()

    def __call__(self, subject: Subject) -> Finding:
        spec = text_spec(subject, self.length)
        tokens = {split: encode_words(spec, each.words) for split, each in self.sentences.splits.items()}
        if is_control(subject):
            return control_finding(subject, spec, self.sentences, tokens, Protocol(terms=self.terms))
        asked = {split: asked_words(self.sentences, split, tokens[split]) for split in tokens}
        predicted, protocol = self._tags(subject, spec, asked)
        return tags_finding(subject, spec, self.sentences, tokens, predicted, protocol)

    def _sentences(self) -> TaggedSet:
        return read_tagged(self.files)

    @abstractmethod
    def _tags(
        self, subject: Subject, spec: TextSpec, asked: Mapping[SplitName, Asked]
    ) -> tuple[dict[Split, Tensor], Protocol]:
        """log p of the tags of the words of test and val, (m, K) each, and how they were found."""


class Tagging(_OfWords):
    """A linear probe of words: softmax regression on the frozen vector of each word's first token, for a grid of
    settings; the one that tags most words of "val" right (a tenth of the sentences of train, where no file is named)
    tags "test".

    Files as those of the CoNLL shared tasks: a word and its tag a line, O, B-type and I-type; train says which types
    there are. `layer`: "-1", the encoder's tokens, a block counted from the end, or "mix", all layers by weights
    learned on train (Peters et al. 2018). Words beyond the first `length` tokens of a sentence
    (`text_layers.text_spec`) are tagged O. Bag of words: the tag that a word's first token has most often in train.
    Metrics, of entities, which are right where type and both ends are: f1, precision and recall, in [0, 1], on test and
    val; since the settings are chosen on val, its figures are the higher for it.
    """

    key: ClassVar[str] = "evaluation.tagging"
    terms: ClassVar[Mapping[str, Any]] = {"method": "linear probe of words", "features": "standardized by train"}

    def __init__(self, *, path: str, texts: Splits, length: int, layer: str | int, grid: Grid) -> None:
        self.grid = grid
        self.grid.check(f"{self.key}.grid")
        super().__init__(path=path, texts=texts, length=length, layer=layer)

    def _tags(
        self, subject: Subject, spec: TextSpec, asked: Mapping[SplitName, Asked]
    ) -> tuple[dict[Split, Tensor], Protocol]:
        probe = fit_probe(subject, self.layer, "token", asked, len(self.sentences.tags), self.grid)
        predicted: dict[Split, Tensor] = {split: probe.log_p(subject, asked[split]) for split in TOLD}
        return predicted, Protocol(terms=self.terms, chosen=probe.chosen, measured=probe.measured)


class TaggingFineTune(_OfWords):
    """Fine-tuning on words with tags: a copy of the encoder is trained with a linear head on each word's first token;
    "test", once.

    How: `text_heads.tune`, with the cross-entropy over words; `auxiliary`: of a causal encoder, the weight of a
    language model's loss on the same texts. All else as in `Tagging`; nothing is chosen, "val" is
    reported.
    """

    key: ClassVar[str] = "evaluation.tagging_finetune"
    terms: ClassVar[Mapping[str, Any]] = {"method": "fine-tuning of all weights, for words"}

    def __init__(
        self, *, path: str, texts: Splits, length: int, layer: str | int, auxiliary: float, recipe: Recipe
    ) -> None:
        check_auxiliary(self.key, auxiliary)
        self.auxiliary = auxiliary
        self.recipe = recipe
        self.recipe.check(f"{self.key}.recipe")
        super().__init__(path=path, texts=texts, length=length, layer=layer)

    def _tags(
        self, subject: Subject, spec: TextSpec, asked: Mapping[SplitName, Asked]
    ) -> tuple[dict[Split, Tensor], Protocol]:
        train = asked["train"]
        check_enough(len(train.ids))
        label = torch.full(train.ids.shape, NO_TAG).index_put_((train.row, train.column), train.label)
        examples = Examples(train.ids, label)
        count = len(self.sentences.tags)
        network = tune(subject, spec, self.layer, "token", examples, count, self.recipe, word_entropy, self.auxiliary)
        predicted: dict[Split, Tensor] = {}
        for split in TOLD:
            log_p = outputs_of(network, asked[split].ids, subject.device).log_softmax(dim=2)
            predicted[split] = log_p[asked[split].row, asked[split].column]
        return predicted, Protocol(terms=self.terms)


def word_entropy(logits: Tensor, tag: Tensor) -> Tensor:
    """(B, T, K), (B, T) -> (): the mean over tokens that begin a word. A batch without any has a loss of 0."""
    total = F.cross_entropy(logits.flatten(0, 1), tag.flatten(), ignore_index=NO_TAG, reduction="sum")
    return total / (tag != NO_TAG).sum().clamp(min=1)


def read_tagged(files: Files) -> TaggedSet:
    """Read all files. Raises ValueError as `text_data.read_conll` does, and for a type that train does not have."""
    splits = {split: read_conll(path) for split, path in files.items()}
    types = sorted({tag[2:] for tags in splits["train"].tags for tag in tags if tag != "O"})
    if not types:
        raise ValueError(f"{files['train']} has only the tag O; there is nothing to learn")
    known = ("O", *(f"{begin}-{each}" for each in types for begin in "BI"))
    for split, each in splits.items():
        strange = sorted({tag for tags in each.tags for tag in tags} - set(known))
        if strange:
            raise ValueError(f"{files[split]} has the tag {strange[0]!r}; train has the types {', '.join(types)}")
    return TaggedSet(with_val(splits), known, fingerprint(files.values()))


def with_val(splits: dict[SplitName, Tagged]) -> dict[SplitName, Tagged]:
    """With a tenth of train as val, where there is none."""
    if "val" in splits:
        return splits
    whole = splits["train"]
    rest, held = held_out(torch.full((len(whole.words),), -1))
    kept, val = (Tagged([whole.words[i] for i in part], [whole.tags[i] for i in part]) for part in (rest, held))
    return {**splits, "train": kept, "val": val}


def asked_words(sentences: TaggedSet, split: SplitName, tokens: WordTokens) -> Asked:
    """The words that have a token, and their tags."""
    number = {tag: place for place, tag in enumerate(sentences.tags)}
    every = torch.tensor([number[tag] for tags in sentences.splits[split].tags for tag in tags])
    return Asked(tokens.ids, every[tokens.word], tokens.row, tokens.column)


def tags_finding(
    subject: Subject,
    spec: TextSpec,
    sentences: TaggedSet,
    tokens: Mapping[SplitName, WordTokens],
    predicted: Mapping[Split, Tensor],
    protocol: Protocol,
) -> Finding:
    """Score (m, K) log p, or (m,) classes, of the words that have a token; the others are the set's filler: O."""
    metrics: list[Metric] = []
    said: list[Predictions] = []
    for split, answered in predicted.items():
        true = sentences.splits[split].tags
        every = [sentences.filler] * sum(map(len, true))
        for word, tag in zip(tokens[split].word.tolist(), decided(answered).tolist(), strict=True):
            every[word] = sentences.tags[tag]
        said.append(word_predictions(sentences, split, every, tokens[split].word, answered))
        ends = accumulate(map(len, true), initial=0)
        guesses = [every[first:last] for first, last in pairwise(ends)]
        metrics += (entity_metrics if sentences.entities else word_metrics)(guesses, true, split)
    kind = "IOB2, entities by the CoNLL rule" if sentences.entities else "of single words"
    terms = {"tags": kind, "files": sentences.fingerprint}
    about = {
        "types": len(sentences.tags) // (2 if sentences.entities else 1),
        **{f"{split} words": len(each.word) for split, each in tokens.items()},
        **reading(spec, cut_words(sentences, tokens)),
        "seed": subject.seed,
    }
    return Finding(
        metrics,
        replace(protocol, terms={**protocol.terms, **terms}, measured={**protocol.measured, **about}),
        predictions=said,
    )


def word_predictions(
    sentences: TaggedSet, split: Split, given: Sequence[str], word: Tensor, answered: Tensor
) -> Predictions:
    """The tag of each of the W words of a split, with its neighbors. `given`: W tags; `answered`: (m, K) log p of the
    words at places `word` (m,), or (m,) classes, which have no probability."""
    number = {tag: place for place, tag in enumerate(sentences.tags)}
    words, tags = sentences.splits[split].words, sentences.splits[split].tags
    probability = np.full(len(given), np.nan)
    if answered.ndim == 2:
        probability[word.numpy()] = answered.double().exp().max(dim=1).values.numpy()
    return Predictions(
        split,
        np.array([number[tag] for of_sentence in tags for tag in of_sentence]),
        np.array([number[tag] for tag in given]),
        probability,
        sentences.tags,
        [beside(sentence, place) for sentence in words for place in range(len(sentence))],
    )


def beside(sentence: Sequence[str], place: int) -> str:
    """A word in brackets among its neighbors.

    >>> beside("a b c d e f g h".split(), 5)
    '… b c d e [f] g h'
    """
    before, after = sentence[max(0, place - NEAR) : place], sentence[place + 1 : place + 1 + NEAR]
    cut = [["…"] * (place > NEAR), ["…"] * (place + 1 + NEAR < len(sentence))]
    return " ".join([*cut[0], *before, f"[{sentence[place]}]", *after, *cut[1]])


def entity_metrics(guesses: Sequence[Sequence[str]], true: Sequence[Sequence[str]], split: Split) -> list[Metric]:
    """f1, precision and recall of entities; tags of each sentence's words."""
    f1, precision, recall = chunk_scores(guesses, true)
    return [
        share("f1", f1, split=split, headline=True),
        share("precision", precision, split=split),
        share("recall", recall, split=split),
    ]


def word_metrics(guesses: Sequence[Sequence[str]], true: Sequence[Sequence[str]], split: Split) -> list[Metric]:
    """accuracy: of all words, those whose tag is right."""
    pairs = [pair for each in zip(guesses, true, strict=True) for pair in zip(*each, strict=True)]
    right = sum(guess == tag for guess, tag in pairs)
    return [share("accuracy", right / len(pairs), split=split, headline=True)]


def cut_words(sentences: TaggedSet, tokens: Mapping[SplitName, WordTokens]) -> float:
    """The share of the words of test that have no token: those beyond the length, and what the tokenizer leaves out."""
    words = sum(map(len, sentences.splits["test"].tags))
    return round(1 - len(tokens["test"].word) / words, 3)


def control_finding(
    subject: Subject, spec: TextSpec, sentences: TaggedSet, tokens: Mapping[SplitName, WordTokens], protocol: Protocol
) -> Finding:
    """Each word by itself."""
    first = {split: each.ids[each.row, each.column].long() for split, each in tokens.items()}
    tag = asked_words(sentences, "train", tokens["train"]).label
    table = frequent_tags(first["train"], tag, spec.vocabulary, len(sentences.tags))
    said = {"control": "the tag that a word's first token has most often"}
    predicted = {split: table[first[split]] for split in TOLD}
    return tags_finding(subject, spec, sentences, tokens, predicted, replace(protocol, measured=said))
