"""Edge probes: which layer of an encoder of text knows what.

W words, m of them (or spans) of a task, L + 1 layers with the embedding as layer 0, D width, K classes.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, ClassVar, Literal, NamedTuple, cast, get_args

import torch
from torch import Tensor, nn

from ssl_runner.data.any.progress import tracked
from ssl_runner.evaluation.any.scores import chunks
from ssl_runner.evaluation.any.subject import TOLD, evaluating, seeded
from ssl_runner.evaluation.any.tuning import Classifier, Recipe, train
from ssl_runner.evaluation.text.data import Tagged, WordTokens, encode_words
from ssl_runner.evaluation.text.files import OfFiles, Splits
from ssl_runner.evaluation.text.heads import ReadMix, check_enough
from ssl_runner.evaluation.text.reading import Reader, mixed, read_tokens, reading, text_encoder, text_spec
from ssl_runner.evaluation.text.tagging import TaggedSet, cut_words, read_tagged
from ssl_runner.figures import Bars, Lines
from ssl_runner.interfaces import Examples, Finding, SplitName, Subject, VectorSpec
from ssl_runner.nn.layer_mix import LayerMix
from ssl_runner.results.metrics import Metric, Protocol, Split, description, share

KEY = "evaluation.text_layers"
Task = Literal["tags", "entities", "spans"]
INTERVAL = (0.025, 0.975)


class Asked(NamedTuple):
    """Spans of words with their classes; class 0 of `tags` is no tag."""

    first: Tensor  # (m,) int64: the first word of a span, among all words of a split
    last: Tensor  # (m,) int64: its last word
    label: Tensor  # (m,) int64
    sentence: Tensor  # (m,) int64


class Counts(NamedTuple):
    """By sentence, (S,) float64 each: F1 = 2 right / (named + there); all three over a whole split."""

    right: Tensor
    named: Tensor
    there: Tensor

    def f1(self, chosen: Tensor | None = None) -> Tensor:
        """() of all sentences, or (R,) of resamples: (R, S) int64 places."""
        right, named, there = (each.sum() if chosen is None else each[chosen].sum(dim=1) for each in self)
        return 2 * right / (named + there).clamp(min=1)


class Probed(NamedTuple):
    """What a task's probes give."""

    counts: dict[Split, list[Counts]]  # of the layers up to 0, 1, ... L
    weights: list[float]  # of the layers, in the mix of all


class TextLayers(OfFiles):
    """Linear probes of spans of words on the frozen layers up to each, and what each layer adds.

        mix_l = gamma sum over j <= l of s_j h_j,   s = softmax(w)        h_0: the embedding; of a span: mean over words
        score_l = F1 of a linear classifier on mix_l,   d_l = score_l - score_{l-1}
        expected layer = sum of l d_l / sum of d_l, l = 1 ... L             where the layers add anything
        center of gravity = sum of l s_l, of the mix of all layers

    Head and mix are trained together on "train" (`tuning.train`); nothing is chosen. Tasks, of files of tagged words as
    `tagging.Tagging` reads them: tags, the tag of each word, F1 of those that are not O; entities, the type of an
    entity whose ends are given; spans, whether a span is an entity or another one of that sentence, as long and drawn
    at random. Of the last two each span has an answer, and F1 is accuracy. A word is its first token; spans with a word
    beyond `length` (`reading.text_spec`) are left out.
    Metrics on test and val, by task: score, of all layers; score_up_to each layer; expected_layer, and the bounds of
    its 95 % interval, of bootstrap samples of the sentences in which the layers add anything; center_of_gravity.

    Tenney, Das, Pavlick 2019, "BERT Rediscovers the Classical NLP Pipeline", https://arxiv.org/abs/1905.05950, section
    3; edge probes: Tenney et al. 2019, https://arxiv.org/abs/1905.06316. Differs from the papers: the classifier is
    linear, a span is the mean of its words without learned attention, and there are single spans only.
    """

    pixels_are_control: ClassVar[bool] = False
    key: ClassVar[str] = KEY

    def __init__(
        self,
        *,
        path: str,
        texts: Splits,
        tasks: list[str],
        sentences: int,
        length: int,
        resamples: int,
        recipe: Recipe,
    ) -> None:
        known = get_args(Task)
        if not tasks or not set(tasks) <= set(known) or len(set(tasks)) < len(tasks):
            raise ValueError(
                f"{KEY}.tasks is {list(tasks)}; it must be a subset of {', '.join(known)}, without repeats"
            )
        for name, value, least in (("sentences", sentences, 2), ("resamples", resamples, 10)):
            if value < least:
                raise ValueError(f"{KEY}.{name} is {value}; it must be at least {least}")
        super().__init__(path=path, texts=texts, length=length, least=3)
        recipe.check(f"{KEY}.recipe")
        self.tasks = list(tasks)
        self.resamples = resamples
        self.recipe = recipe
        found = read_tagged(self.files)
        self.types = tuple(sorted({tag[2:] for tag in found.tags} - {""}))
        if "entities" in tasks and len(self.types) < 2:
            raise ValueError(
                f"{KEY}.tasks has entities, and train has entities of one type, {self.types[0]!r}: leave that task out"
            )
        whole = found.splits["train"]
        found.splits["train"] = Tagged(whole.words[:sentences], whole.tags[:sentences])
        self.set = found

    def __call__(self, subject: Subject) -> Finding:
        spec = text_spec(subject, self.length)
        tokens = {split: encode_words(spec, each.words) for split, each in self.set.splits.items()}
        layers = {split: read_layers(subject, each) for split, each in tokens.items()}
        probed = {task: self._probe(subject, task, tokens, layers) for task in self.tasks}
        metrics: list[Metric] = []
        for split in TOLD:
            for task, each in probed.items():
                metrics += self._metrics(task, each, split)
        return Finding(
            metrics,
            Protocol(
                terms={"method": "edge probes on mixed layers", "files": self.set.fingerprint},
                measured={
                    "layers": layers["train"].shape[1],
                    "layer weights": {task: [round(s, 4) for s in each.weights] for task, each in probed.items()},
                    **{f"{split} sentences": len(each.words) for split, each in self.set.splits.items()},
                    **reading(spec, cut_words(self.set, tokens)),
                    "seed": subject.seed,
                },
            ),
            figures=self._figures(probed, metrics),
        )

    def _probe(
        self,
        subject: Subject,
        task: str,
        tokens: Mapping[SplitName, WordTokens],
        layers: Mapping[SplitName, Tensor],
    ) -> Probed:
        asked, features = {}, {}
        for split, each in self.set.splits.items():
            every = spans_of(task, self.set, self.types, split)
            asked[split], features[split] = span_features(every, tokens[split].word, layers[split], each)
        check_enough(len(asked["train"].label))
        classes = {"tags": len(self.set.tags), "entities": len(self.types), "spans": 2}[task]
        counts: dict[Split, list[Counts]] = {split: [] for split in TOLD}
        weights: list[float] = []
        for last in tracked(range(layers["train"].shape[1]), "layers"):
            network = self._trained(subject, features["train"][:, : last + 1], asked["train"].label, classes)
            for split in TOLD:
                predicted = answers(network, features[split][:, : last + 1], subject.device)
                size = len(self.set.splits[split].words)
                counts[split].append(counted(task, predicted, asked[split], size))
            weights = cast(LayerMix, network.read.mix).weight.softmax(0).tolist()
        return Probed(counts, weights)

    def _trained(self, subject: Subject, stack: Tensor, label: Tensor, classes: int) -> Classifier:
        """A head and a mix of (m, l + 1, D) layers."""
        with seeded(subject.seed):
            mix = ReadMix(LayerMix(stack.shape[1]))
            network = Classifier(nn.Identity(), stack.mean(dim=1), classes, mix).to(subject.device)
            spec = VectorSpec(count=stack.shape[1], width=stack.shape[2])
            train(network, spec, Examples(stack, label), self.recipe, subject.device)
        return network

    def _metrics(self, task: str, probed: Probed, split: Split) -> list[Metric]:
        of: dict[str, str | int | float] = {"task": task}
        scores = [each.f1().item() for each in probed.counts[split]]
        found = [share("score", scores[-1], split=split, headline=True, condition=of)]
        found += [
            share("score_up_to", score, split=split, condition=of | {"layer": layer})
            for layer, score in enumerate(scores)
        ]
        gravity = sum(layer * weight for layer, weight in enumerate(probed.weights))
        if split == "test":
            found.append(description("center_of_gravity", gravity, condition=of))
        expected, low, high = expected_layer(probed.counts[split], self.resamples)
        if expected is not None:
            found += [
                description("expected_layer", expected, split=split, condition=of),
                description("expected_layer", low, split=split, condition=of | {"bound": "lower"}),
                description("expected_layer", high, split=split, condition=of | {"bound": "upper"}),
            ]
        return found

    def _figures(self, probed: Mapping[str, Probed], metrics: Sequence[Metric]) -> dict[str, Any]:
        figures: dict[str, Any] = {
            f"{task} by depth": Lines(
                x=range(len(each.weights)),
                y={"F1": [counts.f1().item() for counts in each.counts["test"]]},
                x_label="layers up to (0: the embedding)",
                y_label="F1 on test",
                note="A linear classifier on a learned mix of the frozen layers up to each.",
            )
            for task, each in probed.items()
        }
        known = {
            (metric.name, metric.condition["task"], metric.condition.get("bound")): metric.value
            for metric in metrics
            if metric.split == "test" and "task" in metric.condition
        }
        nan = float("nan")
        expected = [known.get(("expected_layer", task, None), nan) for task in probed]
        gravity = [known["center_of_gravity", task, None] for task in probed]
        figures["expected layer"] = Bars(
            labels=list(probed),
            values={"expected layer": expected, "center of gravity of the mix": gravity},
            value_label="layer (0: the embedding)",
            decimals=2,
            low={"expected layer": [known.get(("expected_layer", task, "lower"), nan) for task in probed],
                 "center of gravity of the mix": [nan] * len(probed)},
            high={"expected layer": [known.get(("expected_layer", task, "upper"), nan) for task in probed],
                  "center of gravity of the mix": [nan] * len(probed)},
            note="Where layers add to the score, on average, with 95 % bootstrap intervals over sentences of test; and "
            "the mean layer of the mix's weights.",
        )  # fmt: skip
        return figures


# -------------------------------------------------------------------------------------------------------------- layers


def read_layers(subject: Subject, tokens: WordTokens) -> Tensor:
    """(m, L + 1, D) float32 on the CPU: each layer at the first token of each word, the embedding first; of layers as
    wide as the last."""
    encoder = text_encoder(subject.encoder)
    with evaluating(encoder), torch.no_grad():
        special = torch.tensor([[encoder.special.cls, encoder.special.sep]], device=encoder.embedding.weight.device)
        count = len(mixed(encoder, encoder.states(special)))
    readers = [Reader(encoder, str(-place), "token") for place in range(count, 0, -1)]
    return torch.stack([read_tokens(subject, each, tokens.ids, tokens.row, tokens.column) for each in readers], dim=1)


def span_features(asked: Asked, word: Tensor, layers: Tensor, whole: Tagged) -> tuple[Asked, Tensor]:
    """The spans whose words all have a token, and the means of these, (m, L + 1, D). `word`: which words have one."""
    words = sum(map(len, whole.words))
    place = torch.full((words,), -1).index_put_((word,), torch.arange(len(word)))
    missing = torch.cat((torch.zeros(1, dtype=torch.int64), (place < 0).long().cumsum(0)))
    kept = missing[asked.last + 1] == missing[asked.first]
    asked = Asked(*(each[kept] for each in asked))
    first, last = place[asked.first], place[asked.last]
    if torch.equal(first, last):
        return asked, layers[first]
    sums = torch.cat((torch.zeros_like(layers[:1], dtype=torch.float64), layers.double().cumsum(0)))
    return asked, ((sums[last + 1] - sums[first]) / (last + 1 - first)[:, None, None]).float()


def answers(network: Classifier, stack: Tensor, device: torch.device) -> Tensor:
    """(m, l + 1, D) -> (m,) int64 classes, on the CPU."""
    with evaluating(network), torch.inference_mode():
        return torch.cat([network(part.to(device)).argmax(dim=1).cpu() for part in stack.split(4096)])


# --------------------------------------------------------------------------------------------------------------- tasks


def spans_of(task: str, tagged: TaggedSet, types: Sequence[str], split: SplitName) -> Asked:
    """What a task asks of a split; the same each time."""
    tags = tagged.splits[split].tags
    begins = list(accumulate(map(len, tags), initial=0))
    if task == "tags":
        number = {tag: place for place, tag in enumerate(tagged.tags)}
        every = torch.arange(begins[-1])
        sentence = torch.arange(len(tags)).repeat_interleave(torch.tensor([len(each) for each in tags]))
        return Asked(every, every, torch.tensor([number[tag] for each in tags for tag in each]), sentence)
    entities = [(row, *chunk) for row, each in enumerate(tags) for chunk in sorted(chunks(each), key=lambda c: c[1:])]
    rows = [(begins[row] + first, begins[row] + last, types.index(kind), row) for row, kind, first, last in entities]
    if task == "spans":
        rows = [(first, last, 1, row) for first, last, _, row in rows]
        rows += list(other_spans(rows, begins))
    return Asked(*torch.tensor(sorted(rows), dtype=torch.int64).reshape(-1, 4).T)


def other_spans(
    entities: Sequence[tuple[int, int, int, int]], begins: Sequence[int]
) -> list[tuple[int, int, int, int]]:
    """For each entity a span of its sentence, as long, drawn from those that are no entity; none where all are."""
    generator = torch.Generator().manual_seed(0)
    known = {(first, last) for first, last, *_ in entities}
    found = []
    for first, last, _, row in entities:
        start, end = begins[row], begins[row + 1]
        size = last - first
        free = [place for place in range(start, end - size) if (place, place + size) not in known]
        if free:
            place = free[int(torch.randint(len(free), (), generator=generator))]
            known.add((place, place + size))
            found.append((place, place + size, 0, row))
    return found


def counted(task: str, predicted: Tensor, asked: Asked, sentences: int) -> Counts:
    """By sentence. Of `tags` class 0 is no answer; of the others each class is one."""
    answered = predicted > 0 if task == "tags" else torch.ones_like(predicted, dtype=torch.bool)
    there = asked.label > 0 if task == "tags" else torch.ones_like(predicted, dtype=torch.bool)
    right = (predicted == asked.label) & there
    zero = torch.zeros(sentences, dtype=torch.float64)
    return Counts(*(zero.index_add(0, asked.sentence, each.double()) for each in (right, answered, there)))


def expected_layer(counts: Sequence[Counts], resamples: int) -> tuple[float | None, float, float]:
    """The expected layer, and the bounds of its interval over resamples of the sentences; None where no layer adds to
    the score."""
    scores = torch.stack([each.f1() for each in counts])  # (L + 1,)
    expected = mean_layer(scores[:, None])
    if not expected.isfinite().all():
        return None, 0.0, 0.0
    size = len(counts[0].right)
    chosen = torch.randint(size, (resamples, size), generator=torch.Generator().manual_seed(0))
    drawn = mean_layer(torch.stack([each.f1(chosen) for each in counts]))
    low, high = drawn[drawn.isfinite()].quantile(torch.tensor(INTERVAL, dtype=torch.float64)).tolist()
    return expected.item(), low, high


def mean_layer(scores: Tensor) -> Tensor:
    """(L + 1, R) scores up to each layer -> (R,): sum of l d_l / sum of d_l; nan where the layers add nothing."""
    gains = scores.diff(dim=0)
    layer = torch.arange(1, len(scores), dtype=scores.dtype)[:, None]
    total = gains.sum(dim=0)
    return torch.where(total > 0, (layer * gains).sum(dim=0) / total, torch.nan)
