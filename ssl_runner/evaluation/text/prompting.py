"""In-context learning: a language model answers after a few examples in its prompt.

n questions of a split, k examples of a prompt, L labels, R draws.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, cast

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from ssl_runner.data.any.progress import tracked
from ssl_runner.evaluation.any.scores import majority
from ssl_runner.evaluation.any.subject import TOLD, evaluating
from ssl_runner.evaluation.text.data import by_setting, padded, tokenizer_of
from ssl_runner.evaluation.text.files import PLACES, LabeledTexts
from ssl_runner.evaluation.text.prompts import (
    Cut,
    Example,
    Ids,
    Pool,
    check_labels,
    continued,
    cut,
    parse,
    prompt,
    room,
)
from ssl_runner.evaluation.text.reading import text_spec
from ssl_runner.evaluation.text.tokens import beginning
from ssl_runner.figures import Lines
from ssl_runner.interfaces import DataSpec, Finding, Inspection, OfTasks, PredictsNext, Subject, TextSpec
from ssl_runner.results.metrics import Better, Metric, Protocol, Split, share

KEY = "evaluation.prompting"


class Asked(NamedTuple):
    """What is asked of a split."""

    pools: Sequence[Pool]
    names: tuple[str, ...]  # of the labels

    @property
    def labels(self) -> Tensor:
        """(n,) int64, in the order of the questions."""
        return torch.tensor([each.label for pool in self.pools for each in pool.asked])


class Answers(NamedTuple):
    """Accuracies of a split with k examples, a draw each."""

    plain: list[float]
    calibrated: list[float]


class Prompting(Inspection):
    """Answer a text by the label whose words are most probable after the prompt.

        prompt = k examples, each text and label in the template, then the text in the template up to its label
        score(label) = 1/m sum over the m tokens of its words of log p(token | prompt, tokens before it)
        calibrated: score(label) - log p0(label),   p0 = mean over `blanks` of softmax over labels of score

    `blanks` are asked with the same examples (Zhao et al. 2021, contextual calibration). Examples are drawn anew
    `draws` times, for all questions of a split alike: of train, or of the other examples of a task, where each text of
    the data is a task of its own (`interfaces.OfTasks`). Where a prompt is longer than `length` (`reading.text_spec`)
    its texts are cut, all to the same number of tokens; where more than `shortened` of them would have to be, so many
    examples do not fit, and are left out. Raises ValueError where none of the numbers above 0 fits.

    Brown et al. 2020, "Language Models are Few-Shot Learners", https://arxiv.org/abs/2005.14165, section 2.4; Zhao,
    Wallace, Feng, Klein, Singh 2021, "Calibrate Before Use", https://arxiv.org/abs/2102.09690.
    Differs from the papers: every label's score is per token, which changes nothing where labels are single tokens.
    Metrics on test and val, by number of examples and whether calibrated: accuracy, the mean over draws; half_width, of
    its 95 % interval over draws (Student's t). majority: the accuracy of the most frequent label of train, of tasks of
    the labels of val.
    """

    reads: ClassVar[type[DataSpec]] = TextSpec
    presentation: ClassVar[frozenset[str]] = PLACES | {"batch_size"}

    def __init__(
        self,
        *,
        path: str | None,
        texts: LabeledTexts,
        template: str,
        words: dict[str, str],
        blanks: list[str],
        examples: list[int],
        shortened: float,
        draws: int,
        questions: int,
        length: int,
        batch_size: int,
    ) -> None:
        self.parts = parse(f"{KEY}.template", template)
        if not examples or len(set(examples)) < len(examples) or min(examples) < 0:
            raise ValueError(f"{KEY}.examples is {list(examples)}; it must be different numbers, 0 or more")
        if not blanks:
            raise ValueError(f"{KEY}.blanks is empty; it must hold at least one text without content, such as N/A")
        if not 0 <= shortened < 1:
            raise ValueError(f"{KEY}.shortened is {shortened}; it is a share and must lie in [0, 1)")
        for name, value in {"draws": draws, "questions": questions, "length": length, "batch_size": batch_size}.items():
            if value < 1:
                raise ValueError(f"{KEY}.{name} is {value}; it must be at least 1")
        self.words = {str(label): said for label, said in words.items()}
        self.blanks = list(blanks)
        self.examples = sorted(examples)
        self.shortened = shortened
        self.draws = draws
        self.questions = questions
        self.length = length
        self.batch_size = batch_size
        self.set = None
        if path is not None:
            files = texts.find(KEY, path)
            self.contents = by_setting(files)
            self.set = texts.read(KEY, files)
            strange = sorted(set(self.words) - set(self.set.classes))
            if strange:
                labels = ", ".join(self.set.classes[:10])
                raise ValueError(f"{KEY}.words names the label {strange[0]!r}, and the labels of train are {labels}")

    def check(self, spec: TextSpec) -> None:
        if self.set is None and not spec.tasks:
            raise ValueError(
                f"{KEY}.path is null, and these data have no tasks of their own; set it to a folder of labeled texts, "
                "or choose dataset=in_context"
            )

    def __call__(self, objective: PredictsNext, subject: Subject) -> Finding:
        spec = text_spec(subject, self.length)
        asked = {split: self._asked(subject, split) for split in TOLD}
        names = asked["test"].names
        begin = beginning(spec, subject.data.examples("test").data) or [spec.special.sep]
        made = cut(tokenizer_of(spec), self.parts, [self.words.get(name, name) for name in names], begin)
        check_labels(f"{KEY}.words", names, made.labels, self.words)
        model = Model(cast(nn.Module, objective).to(subject.device), subject.device, spec.special.pad, self.batch_size)
        ids = Texts(tokenizer_of(spec), made.lead)
        fitting = self._fitting(spec, made, asked, ids)
        found = {
            split: {
                k: self._answers(model, made, asked[split], ids, k, most, subject.seed) for k, most in fitting.items()
            }
            for split in TOLD
        }
        metrics = [each for split in TOLD for each in metrics_of(found[split], split)]
        metrics += [
            share("majority", self._majority(asked, split), better=Better.NEITHER, split=split) for split in TOLD
        ]
        return Finding(
            metrics,
            Protocol(
                terms={
                    "method": "labels scored after examples in the prompt",
                    "files": "tasks of the data" if self.set is None else self.set.fingerprint,
                },
                measured={
                    **{f"{split} questions": len(asked[split].labels) for split in TOLD},
                    "left out": [k for k in self.examples if k not in fitting],
                    "tokens per text": {str(k): most for k, most in fitting.items()},
                    "tokens per label": dict(zip(names, map(len, made.labels), strict=True)),
                    "unknown": unknown(made, spec.special.unk),
                    "read": spec.length,
                    "seed": subject.seed,
                },
            ),
            figures={"examples in the prompt": drawn(found["test"], self._majority(asked, "test"))},
        )

    def _asked(self, subject: Subject, split: Split) -> Asked:
        """The questions of a split, the same for every run."""
        generator = torch.Generator().manual_seed(0)
        if self.set is not None:
            label = self.set.label[split].tolist()
            every = [Example(text, k) for (text,), k in zip(self.set.texts[split], label, strict=True)]
            chosen = torch.randperm(len(every), generator=generator)[: self.questions].tolist()
            train = zip(self.set.texts["train"], self.set.label["train"].tolist(), strict=True)
            pool = Pool([Example(text, k) for (text,), k in train], [every[place] for place in chosen])
            return Asked([pool], self.set.classes)
        tasks = cast(OfTasks, subject.data).tasks(split)[: self.questions]
        known = sorted(
            {label for name in TOLD for task in cast(OfTasks, subject.data).tasks(name) for label in task.labels}
        )
        pools = [
            [Example(text, known.index(label)) for text, label in zip(task.texts, task.labels, strict=True)]
            for task in tasks
        ]
        return Asked([Pool(each[:-1], each[-1:]) for each in pools], tuple(known))

    def _fitting(self, spec: TextSpec, made: Cut, asked: Mapping[Split, Asked], ids: "Texts") -> dict[int, int]:
        """The numbers of examples that fit: k -> tokens of each text. Raises ValueError where none does."""
        pools = [pool for each in asked.values() for pool in each.pools]
        lengths = torch.tensor([len(ids[each.text]) for pool in pools for each in (*pool.examples, *pool.asked)])
        least = min(len(pool.examples) for pool in pools)
        fitting = {}
        for k in self.examples:
            most = room(made, k, spec.length)
            cut_share = (lengths > most).double().mean().item()
            if k <= least and most >= 1 and (k == 0 or cut_share <= self.shortened):
                fitting[k] = most
        if not any(fitting) and (any(self.examples) or not fitting):
            raise ValueError(
                f"{KEY}.examples is {self.examples}: no such number fits in {spec.length} tokens, where a text has "
                f"{lengths.double().mean().item():.0f} on average; pretrain with a longer dataset.length, allow more "
                f"texts to be cut ({KEY}.shortened), or ask without examples ({KEY}.examples=[0])"
            )
        return fitting

    def _answers(self, model: "Model", made: Cut, asked: Asked, ids: "Texts", k: int, most: int, seed: int) -> Answers:
        truth, found = asked.labels, Answers([], [])
        for draw in tracked(range(self.draws if k else 1), "draws of examples"):
            generator = torch.Generator().manual_seed(1000 * seed + draw)
            rows, blanks = [], []
            for pool in asked.pools:
                order = torch.randperm(len(pool.examples), generator=generator)[:k].tolist()
                shown = [(ids[pool.examples[place].text], pool.examples[place].label) for place in order]
                rows += [prompt(made, shown, ids[each.text], most) for each in pool.asked]
                blanks += [prompt(made, shown, ids[blank], most) for blank in self.blanks]
            score = model.scores(rows, made.labels)
            blank = model.scores(blanks, made.labels).softmax(dim=1).unflatten(0, (len(asked.pools), -1)).mean(dim=1)
            per_question = blank.repeat_interleave(torch.tensor([len(pool.asked) for pool in asked.pools]), dim=0)
            for scores, accuracies in ((score, found.plain), (score - per_question.log(), found.calibrated)):
                accuracies.append((scores.argmax(dim=1) == truth).double().mean().item())
        return found

    def _majority(self, asked: Mapping[Split, Asked], split: Split) -> float:
        known = asked["val"].labels if self.set is None else self.set.label["train"]
        return majority(known, asked[split].labels)


class Texts:
    """Texts in tokens, each cut once. `lead`: spaces before each."""

    def __init__(self, tokenizer: Tokenizer, lead: str) -> None:
        self.tokenizer = tokenizer
        self.lead = lead
        self.known: dict[str, Ids] = {}

    def __getitem__(self, text: str) -> Ids:
        if text not in self.known:
            self.known[text] = continued(self.tokenizer, self.lead + text)
        return self.known[text]


class Model(NamedTuple):
    """A language model, as it is asked for labels."""

    network: nn.Module
    device: torch.device
    pad: int
    batch_size: int

    def scores(self, rows: Sequence[Ids], labels: Sequence[Ids]) -> Tensor:
        """n prompts and L labels -> (n, L) float64: log-probabilities per token. Raises ValueError for NaN."""
        with evaluating(self.network), torch.inference_mode():
            if all(len(ids) == 1 for ids in labels):
                found = self._single(rows, [ids[0] for ids in labels])
            else:
                found = torch.stack([self._whole(rows, ids) for ids in labels], dim=1)
        if found.isnan().any() or (found == -math.inf).all(dim=1).any():
            raise ValueError("a label has probability 0 or NaN: prompts cannot be answered")
        return found.clone()

    def _single(self, rows: Sequence[Ids], labels: Sequence[int]) -> Tensor:
        """(n, L), of labels of one token: from the scores of the next token alone."""
        objective = cast(PredictsNext, self.network)
        parts = [
            objective.next_logits(tokens).double().log_softmax(dim=1)[:, labels].cpu() for tokens in self._batches(rows)
        ]
        return torch.cat(parts)

    def _whole(self, rows: Sequence[Ids], label: Ids) -> Tensor:
        """(n,), of one label of any number of tokens."""
        objective = cast(PredictsNext, self.network)
        parts = []
        for tokens in self._batches([[*row, *label] for row in rows]):
            nats = objective.log_likelihood(tokens).double().cpu()
            end = (tokens != self.pad).sum(dim=1, keepdim=True).cpu() - 1
            place = torch.arange(nats.shape[1])
            parts.append((nats * ((place < end) & (place >= end - len(label)))).sum(dim=1) / len(label))
        return torch.cat(parts)

    def _batches(self, rows: Sequence[Ids]) -> list[Tensor]:
        batches = [rows[first : first + self.batch_size] for first in range(0, len(rows), self.batch_size)]
        return [padded(batch, self.pad).long().to(self.device) for batch in batches]


def unknown(made: Cut, unk: int) -> dict[str, int]:
    """How many tokens of the template and of the labels the vocabulary lacks."""
    fixed = (*made.before, *made.between, *made.after)
    return {"in the template": fixed.count(unk), "in the labels": sum(ids.count(unk) for ids in made.labels)}


def half_width(values: Sequence[float]) -> float:
    """Half of the 95 % interval of a mean, by Student's t; 0 of a single value."""
    from scipy.special import stdtrit  # scipy.stats takes a second to import

    if len(values) < 2:
        return 0.0
    deviation = torch.tensor(values, dtype=torch.float64).std().item()
    return float(stdtrit(len(values) - 1, 0.975)) * deviation / math.sqrt(len(values))


def metrics_of(found: Mapping[int, Answers], split: Split) -> list[Metric]:
    metrics: list[Metric] = []
    for k, answers in found.items():
        for calibrated, values in (("no", answers.plain), ("yes", answers.calibrated)):
            of: dict[str, Any] = {"split": split, "condition": {"examples": k, "calibrated": calibrated}}
            headline = k == max(found)
            metrics.append(share("accuracy", sum(values) / len(values), headline=headline, **of))
            if len(values) > 1:
                metrics.append(share("half_width", half_width(values), better=Better.NEITHER, **of))
    return metrics


def drawn(found: Mapping[int, Answers], frequent: float) -> Lines:
    curves = {
        "as it is": [answers.plain for answers in found.values()],
        "calibrated": [answers.calibrated for answers in found.values()],
    }
    means = {name: [sum(each) / len(each) for each in values] for name, values in curves.items()}
    widths = {name: [half_width(each) for each in values] for name, values in curves.items()}
    return Lines(
        x=list(found),
        y=means,
        x_label="examples in the prompt",
        y_label="accuracy on test",
        note="Nothing is trained. Bands: 95 % interval over draws of examples. Thin: always the most frequent label.",
        low={name: [max(0.0, m - w) for m, w in zip(means[name], widths[name], strict=True)] for name in means},
        high={name: [min(1.0, m + w) for m, w in zip(means[name], widths[name], strict=True)] for name in means},
        references={"most frequent label": [frequent] * len(found)},
    )
