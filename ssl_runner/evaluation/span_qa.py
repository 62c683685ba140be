"""Questions whose answer is a part of a text.

n questions, m windows of texts, B batch, T tokens.
"""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_runner.data.splits import stratified
from ssl_runner.evaluation.scores import answer_f1, exact_match
from ssl_runner.evaluation.subject import evaluating, seeded
from ssl_runner.evaluation.text_data import (
    Question,
    Windows,
    check_length,
    cut_questions,
    encode_questions,
    find_files,
    fingerprint,
    read_squad,
)
from ssl_runner.evaluation.text_heads import check_enough, recipe_protocol, start
from ssl_runner.evaluation.text_layers import Still, named_token_layer, reading, text_encoder, text_spec
from ssl_runner.evaluation.tuning import Classifier, Recipe, train
from ssl_runner.interfaces import PAD, SEP, DataSpec, Evaluator, Examples, Finding, Subject, TextSpec
from ssl_runner.nn.tokens import segments

BATCH = 64  # windows answered at once: (B, T, T) scores


class Questions(NamedTuple):
    """A set of questions as read."""

    train: list[Question]
    test: list[Question]
    split: str  # in words
    fingerprint: str


class Spans(nn.Module):
    """(B, T) ids -> (B, T, 2): how likely each token of the text is the answer's first, and its last, as logits.

    [CLS] says that the answer is not in this window. No other token can be named.
    """

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        open_ = (segments(x) == 1) & (x != PAD) & (x != SEP)
        open_[:, 0] = True
        return self.classifier(x).masked_fill(~open_[:, :, None], -torch.inf)


class SpanQA(Evaluator):
    """Two linear heads on the frozen tokens of a question and a text, for the answer's first and its last token.

        loss = -1/2 (log softmax(s)[first] + log softmax(e)[last]),   answer = argmax over i <= j < i + `answer` of
        log softmax(s)[i] + log softmax(e)[j],  over all windows of the text                   nats per window

    Windows are [CLS] question [SEP] part of the text [SEP], of `length` tokens (`text_layers.text_spec`); each shares
    `overlap` of its part with the next; one without the whole answer has it at [CLS]. The heads are trained as
    `tuning.train` does on "train"; nothing is chosen. Files of SQuAD 1.1's form: `train` and `test` in the folder
    `path`; or `path` is one file, `test_share` of whose articles, chosen by `split_seed`, are "test". There is no bag
    of words, which has no spans. Metrics on test, in [0, 1]: f1 of the words of guess and answer, exact_match.
    Rajpurkar, Zhang, Lopyrev, Liang 2016, https://arxiv.org/abs/1606.05250, section 6.1; heads and windows as in Devlin
    et al. 2019, https://arxiv.org/abs/1810.04805, section 4.2. Differs from the paper: scores of windows are compared
    as probabilities.
    """

    needs_labels: ClassVar[bool] = False  # of the data that were pretrained on
    reads: ClassVar[type[DataSpec]] = TextSpec
    pixels_are_control: ClassVar[bool] = False

    def __init__(
        self,
        *,
        path: str,
        train: str,
        test: str,
        test_share: float,
        split_seed: int,
        length: int,
        question: int,
        answer: int,
        overlap: float,
        layer: str | int,
        epochs: int,
        batch_size: int,
        learning_rate: float,
        weight_decay: float,
    ) -> None:
        key = "evaluation.span_qa"
        self.layer = named_token_layer(f"{key}.layer", layer)
        self.cut = Cut(key, length, question, answer, overlap)
        self.cut.check()
        self.recipe = Recipe(
            epochs=epochs, least_steps=1, batch_size=batch_size, learning_rate=learning_rate, weight_decay=weight_decay
        )
        self.recipe.check(key)
        self.questions = read_questions(key, path, train, test, test_share, split_seed)

    def __call__(self, subject: Subject) -> Finding:
        still = Still(text_encoder(subject.encoder))
        with evaluating(subject.encoder):
            return spans_finding(
                subject, still, self.layer, self.questions, self.cut, self.recipe, "heads of spans on frozen tokens"
            )


class SpanQAFineTune(Evaluator):
    """Fine-tuning on questions: a copy of the encoder is trained with the two heads of `SpanQA`; all else as there."""

    needs_labels: ClassVar[bool] = False
    reads: ClassVar[type[DataSpec]] = TextSpec
    pixels_are_control: ClassVar[bool] = False

    def __init__(
        self,
        *,
        path: str,
        train: str,
        test: str,
        test_share: float,
        split_seed: int,
        length: int,
        question: int,
        answer: int,
        overlap: float,
        layer: str | int,
        epochs: int,
        batch_size: int,
        learning_rate: float,
        weight_decay: float,
    ) -> None:
        key = "evaluation.span_qa_finetune"
        self.layer = named_token_layer(f"{key}.layer", layer)
        self.cut = Cut(key, length, question, answer, overlap)
        self.cut.check()
        self.recipe = Recipe(
            epochs=epochs, least_steps=1, batch_size=batch_size, learning_rate=learning_rate, weight_decay=weight_decay
        )
        self.recipe.check(key)
        self.questions = read_questions(key, path, train, test, test_share, split_seed)

    def __call__(self, subject: Subject) -> Finding:
        encoder = copy.deepcopy(text_encoder(subject.encoder))
        name = "fine-tuning of all weights, for spans"
        return spans_finding(subject, encoder, self.layer, self.questions, self.cut, self.recipe, name)


class Cut(NamedTuple):
    """How questions and texts become windows."""

    key: str  # of the evaluator in the config: "evaluation.span_qa"
    length: int  # tokens of a window
    question: int  # tokens of it that are read
    answer: int  # tokens of it, at most
    overlap: float  # the share of a window's part that is in the next one too

    def check(self) -> None:
        """Raise ValueError for numbers out of range."""
        check_length(self.key, self.length, least=self.question + 4)
        for name, value in (("question", self.question), ("answer", self.answer)):
            if value < 1:
                raise ValueError(f"{self.key}.{name} is {value}; it must be at least 1 token")
        if not 0 <= self.overlap < 1:
            raise ValueError(f"{self.key}.overlap is {self.overlap}; it must lie in [0, 1)")


def read_questions(key: str, path: str, train: str, test: str, test_share: float, split_seed: int) -> Questions:
    """Two files of a folder, or one file, split by article. Raises ValueError as `text_data.read_squad` does."""
    file = Path(path).expanduser()
    if not file.is_file():
        files = find_files(key, path, {"train": train, "test": test})
        return Questions(read_squad(files["train"]), read_squad(files["test"]), "by file", fingerprint(files.values()))
    if not 0 < test_share < 1:
        raise ValueError(f"{key}.test_share is {test_share}; it must lie in (0, 1)")
    every = read_squad(file)
    articles = torch.tensor(sorted({each.article for each in every}))
    if not 0 < round(test_share * len(articles)) < len(articles):
        raise ValueError(
            f"{key}.test_share is {test_share}, and {file} has {len(articles)} articles: none would be left for train "
            "or test"
        )
    _, held = stratified(torch.full((len(articles),), -1), test_share, split_seed)
    tested = set(articles[held].tolist())
    return Questions(
        train=[each for each in every if each.article not in tested],
        test=[each for each in every if each.article in tested],
        split=f"{test_share:g} of the articles, seed {split_seed}",
        fingerprint=fingerprint([file]),
    )


def spans_finding(
    subject: Subject, encoder: nn.Module, layer: str, questions: Questions, cut: Cut, recipe: Recipe, name: str
) -> Finding:
    """Train the heads, and the encoder where it has weights; answer the questions of test."""
    spec = text_spec(subject, cut.length)
    learned, asked = (
        encode_questions(spec, part, key=cut.key, asked=cut.question, overlap=cut.overlap)
        for part in (questions.train, questions.test)
    )
    check_enough(len(learned.ids))
    network = Spans(start(subject, encoder, layer, "token", learned.ids, 2))
    examples = Examples(learned.ids, learned.answer)
    with seeded(subject.seed):
        train(network, spec, examples, recipe, subject.device, span_entropy)
    guesses = best_answers(network, questions.test, asked, cut.answer, subject.device)
    scored = list(zip(guesses, (each.answers for each in questions.test), strict=True))
    return Finding(
        metrics={
            "f1": sum(answer_f1(guess, right) for guess, right in scored) / len(scored),
            "exact_match": sum(exact_match(guess, right) for guess, right in scored) / len(scored),
        },
        protocol={
            "evaluator": name,
            **recipe_protocol(subject, layer, recipe, len(questions.train)),
            "examples": len(questions.test),
            "articles": questions.split,
            "question": cut.question,
            "answer": cut.answer,
            "overlap": cut.overlap,
            **reading(spec, cut.length, cut_questions(spec, questions.test, cut.question)),
            "files": questions.fingerprint,
        },
    )


def span_entropy(logits: Tensor, answer: Tensor) -> Tensor:
    """(B, T, 2), (B, 2) -> (): the mean of the cross-entropies of first and last token."""
    return F.cross_entropy(logits, answer)


def best_answers(
    network: Spans, questions: Sequence[Question], windows: Windows, longest: int, device: torch.device
) -> list[str]:
    """The most probable span of all windows of each question, at most `longest` tokens long, as it stands in the text.

    "" where no window has a token of text.
    """
    scores, firsts, lasts = [], [], []
    with evaluating(network), torch.inference_mode():
        for ids in windows.ids.split(BATCH):
            score, first, last = best_spans(network(ids.long().to(device)).float(), longest)
            scores.append(score.cpu())
            firsts.append(first.cpu())
            lasts.append(last.cpu())
    score, first, last = (torch.cat(parts) for parts in (scores, firsts, lasts))
    best: dict[int, tuple[float, int]] = {}
    for place, (number, value) in enumerate(zip(windows.question.tolist(), score.tolist(), strict=True)):
        best[number] = max(best.get(number, (-torch.inf, place)), (value, place))
    answers = []
    for number, question in enumerate(questions):
        value, place = best[number]
        start, end = windows.start[place, first[place]], windows.end[place, last[place]]
        answers.append(question.context[int(start) : int(end)] if value > -torch.inf else "")
    return answers


def best_spans(logits: Tensor, longest: int) -> tuple[Tensor, Tensor, Tensor]:
    """(B, T, 2) -> log probability, first and last token of the best span without [CLS], (B,) each."""
    start, end = logits.log_softmax(dim=1).unbind(dim=2)
    pairs = start[:, :, None] + end[:, None, :]  # (B, T, T)
    length = logits.shape[1]
    allowed = torch.ones(length, length, dtype=torch.bool, device=logits.device).triu().tril(longest - 1)
    allowed[0] = False
    value, place = pairs.masked_fill(~allowed, -torch.inf).flatten(1).max(dim=1)
    return value, place // length, place % length
