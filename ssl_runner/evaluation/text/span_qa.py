"""Extractive question answering: answers are spans of a context.

n questions, m windows of texts, B batch, T tokens.
"""

import copy
import math
from collections.abc import Callable, Sequence
from itertools import starmap
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_runner.data.any.progress import tracked
from ssl_runner.data.any.splits import stratified
from ssl_runner.evaluation.any.mistakes import DRAWN, MISTAKES
from ssl_runner.evaluation.any.scores import answer_f1, exact_match
from ssl_runner.evaluation.any.subject import TOLD, evaluating, seeded
from ssl_runner.evaluation.any.tuning import Classifier, Recipe, train
from ssl_runner.evaluation.text.data import (
    HELD_OUT,
    Question,
    Windows,
    by_setting,
    check_length,
    cut_questions,
    encode_questions,
    fingerprint,
    read_squad,
)
from ssl_runner.evaluation.text.files import PLACES, Articles
from ssl_runner.evaluation.text.heads import check_auxiliary, check_enough, language_loss, start
from ssl_runner.evaluation.text.reading import Still, named_token_layer, reading, text_encoder, text_spec
from ssl_runner.figures import Passages
from ssl_runner.interfaces import (
    Contents,
    DataSpec,
    Evaluator,
    Examples,
    Finding,
    SpecialTokens,
    SplitName,
    Subject,
    TextSpec,
)
from ssl_runner.nn.tokens import segments
from ssl_runner.results.metrics import Metric, Protocol, Split, share
from ssl_runner.results.predictions import Answers

NEAR = 120  # characters on each side of an answer that are shown with it
BATCH = 64  # windows answered at once: (B, T, T) scores


class Questions(NamedTuple):
    """A set of questions, as read from files."""

    splits: dict[SplitName, list[Question]]  # train, val and test
    parted: str  # how, in words
    fingerprint: str
    contents: Contents


class Spans(nn.Module):
    """(B, T) ids -> (B, T, 2): logits of the first and the last token of the answer.

    [CLS] says that the answer is not in this window. No other token can be named.
    """

    def __init__(self, classifier: Classifier, special: SpecialTokens) -> None:
        super().__init__()
        self.special = special
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        sep = self.special.sep
        open_ = (segments(x, sep) == 1) & (x != self.special.pad) & (x != sep)
        open_[:, 0] = True
        return self.classifier(x).masked_fill(~open_[:, :, None], -torch.inf)


class _OfArticles(Evaluator):
    """The base class of both question-answering evaluators."""

    needs_labels: ClassVar[bool] = False  # of the data that were pretrained on
    reads: ClassVar[type[DataSpec]] = TextSpec
    presentation: ClassVar[frozenset[str]] = PLACES
    pixels_are_control: ClassVar[bool] = False
    key: ClassVar[str]

    def __init__(
        self,
        *,
        path: str,
        texts: Articles,
        length: int,
        question: int,
        answer: int,
        overlap: float,
        layer: str | int,
        recipe: Recipe,
    ) -> None:
        self.layer = named_token_layer(f"{self.key}.layer", layer)
        self.length = length
        self.cut = Cut(self.key, length, question, answer, overlap)
        self.cut.check()
        self.recipe = recipe
        self.recipe.check(f"{self.key}.recipe")
        self.questions = read_questions(self.key, path, texts)
        self.contents = self.questions.contents

    def _finding(
        self, subject: Subject, encoder: nn.Module, method: str, also: Callable[[Tensor], Tensor] | None = None
    ) -> Finding:
        """`also`: as `tuning.train` takes it."""
        return spans_finding(subject, encoder, self.layer, self.questions, self.cut, self.recipe, method, also)


class SpanQA(_OfArticles):
    """Two linear heads on frozen features of question and context, for the first and last token of the answer.

        loss = -1/2 (log softmax(s)[first] + log softmax(e)[last]),   answer = argmax over i <= j < i + `answer` of
        log softmax(s)[i] + log softmax(e)[j],  over all windows of the text                   nats per window

    Windows are [CLS] question [SEP] part of the text [SEP], of `length` tokens (`text_layers.text_spec`); each shares
    `overlap` of its part with the next; one without the whole answer has it at [CLS]. The heads are trained as
    `tuning.train` does on "train"; nothing is chosen. Files as `files.Articles` has them; where no file is named for
    val, it is a tenth of train's articles. Where questions of train have no answer (SQuAD 2.0, Rajpurkar, Jia, Liang
    2018, https://arxiv.org/abs/1806.03822), their answer is at [CLS] in all windows, and none is given where
    log p(span) - log p([CLS]) is below a margin that is chosen on val by F1. There is no bag of words, which has
    no spans. Metrics on test and val, in [0, 1]: f1 of the words of guess and answer, exact_match. Rajpurkar, Zhang,
    Lopyrev, Liang 2016, https://arxiv.org/abs/1606.05250, section 6.1; heads and windows as in Devlin et al. 2019,
    https://arxiv.org/abs/1810.04805, section 4.2. Differs from the paper: scores of windows are compared as
    probabilities.
    """

    key: ClassVar[str] = "evaluation.span_qa"

    def __call__(self, subject: Subject) -> Finding:
        with evaluating(subject.encoder):
            return self._finding(subject, Still(text_encoder(subject.encoder)), "heads of spans on frozen tokens")


class SpanQAFineTune(_OfArticles):
    """Fine-tuning on questions: a copy of the encoder is trained with the two heads of `SpanQA`; all else as there.

    `auxiliary`: of a causal encoder, the weight of a language model's loss on the same windows
    (`text_heads.language_loss`).
    """

    key: ClassVar[str] = "evaluation.span_qa_finetune"

    def __init__(
        self,
        *,
        path: str,
        texts: Articles,
        length: int,
        question: int,
        answer: int,
        overlap: float,
        layer: str | int,
        auxiliary: float,
        recipe: Recipe,
    ) -> None:
        check_auxiliary(self.key, auxiliary)
        self.auxiliary = auxiliary
        super().__init__(
            path=path,
            texts=texts,
            length=length,
            question=question,
            answer=answer,
            overlap=overlap,
            layer=layer,
            recipe=recipe,
        )

    def __call__(self, subject: Subject) -> Finding:
        encoder = copy.deepcopy(text_encoder(subject.encoder))
        also = language_loss(encoder, self.auxiliary) if self.auxiliary else None
        return self._finding(subject, encoder, "fine-tuning of all weights, for spans", also)


class Cut(NamedTuple):
    """How questions and contexts are cut into windows."""

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


def read_questions(key: str, path: str, texts: Articles) -> Questions:
    """Files of a folder, or one file, split by article. Raises ValueError as `text_data.read_squad` does, and where a
    part would be empty."""
    share = texts.test_share
    file = Path(path).expanduser()
    splits: dict[SplitName, list[Question]]
    if file.is_file():
        if not 0 < share < 1:
            raise ValueError(f"{key}.texts.test_share is {share}; it must lie in (0, 1)")
        every = read_squad(file)
        articles = count_articles(every)
        if not 0 < round(share * articles) < articles:
            raise ValueError(
                f"{key}.texts.test_share is {share}, and {file} has {articles} articles: train or test would be empty"
            )
        rest, held = parted(every, round(share * articles), texts.split_seed)
        splits = {"train": rest, "test": held}
        said, known = f"{share:g} of the articles for test", fingerprint([file])
        contents: Contents = {"path": {"": file}}
    else:
        files = texts.find(key, path)
        splits = {split: read_squad(each) for split, each in files.items()}
        said, known = "by file", fingerprint(files.values())
        contents = by_setting(files)
    if "val" not in splits:
        articles = count_articles(splits["train"])
        if articles < 2:
            raise ValueError(
                f"{key}.path is {path!r}, and its train has {articles} article, so no article can be held out for "
                f"val; set {key}.texts.val to a file of a folder"
            )
        splits["train"], splits["val"] = parted(splits["train"], max(1, round(HELD_OUT * articles)), texts.split_seed)
        said += f", {HELD_OUT:g} of train's for val"
    return Questions(splits, said, known, contents)


def count_articles(questions: Sequence[Question]) -> int:
    return len({each.article for each in questions})


def parted(questions: Sequence[Question], held: int, seed: int) -> tuple[list[Question], list[Question]]:
    """The questions of some articles, and those of `held` others, at random."""
    articles = torch.tensor(sorted({each.article for each in questions}))
    _, places = stratified(torch.full((len(articles),), -1), held / len(articles), seed)
    chosen = set(articles[places].tolist())
    return (
        [each for each in questions if each.article not in chosen],
        [each for each in questions if each.article in chosen],
    )


def spans_finding(
    subject: Subject,
    encoder: nn.Module,
    layer: str,
    questions: Questions,
    cut: Cut,
    recipe: Recipe,
    name: str,
    also: Callable[[Tensor], Tensor] | None,
) -> Finding:
    """Train the heads, and the encoder where it has weights; answer the questions of test and val."""
    spec = text_spec(subject, cut.length)
    windows = {
        split: encode_questions(spec, part, key=cut.key, asked=cut.question, overlap=cut.overlap)
        for split, part in questions.splits.items()
    }
    learned = windows["train"]
    check_enough(len(learned.ids))
    network = Spans(start(subject, encoder, layer, "token", learned.ids, 2), spec.special)
    with seeded(subject.seed):
        train(network, spec, Examples(learned.ids, learned.answer), recipe, subject.device, span_entropy, also=also)
    found = {
        split: best_answers(network, questions.splits[split], windows[split], cut.answer, subject.device)
        for split in TOLD
    }
    unanswered = not all(each.answers for each in questions.splits["train"])
    margin = best_margin(found["val"], questions.splits["val"]) if unanswered else -torch.inf
    answers = [answered(found[split], questions.splits[split], margin, split) for split in TOLD]
    metrics = [metric for each in answers for metric in answer_metrics(each)]
    of_test = next(each for each in answers if each.split == "test")
    wrong = wrong_answers(of_test, found["test"], questions.splits["test"])
    said = (
        {"no answer": "where [CLS] is more probable than every span, by a margin chosen on val"} if unanswered else {}
    )
    return Finding(
        metrics,
        Protocol(
            terms={"method": name, "articles": questions.parted, "files": questions.fingerprint, **said},
            chosen={"margin": round(margin, 4)} if unanswered else {},
            measured={
                **{f"{split} questions": len(part) for split, part in questions.splits.items()},
                **reading(spec, cut_questions(spec, questions.splits["test"], cut.question)),
                "seed": subject.seed,
            },
        ),
        {MISTAKES: wrong} if wrong else {},
        answers=answers,
    )


class Guess(NamedTuple):
    """The most probable answer to a question."""

    text: str  # as it stands in the context; "" where no window has a token of text
    margin: float  # log p(it) - log p([CLS], no answer) of the window that says least that there is none


def answered(guesses: Sequence[Guess], questions: Sequence[Question], margin: float, split: Split) -> Answers:
    """What is answered where no answer is given below the margin, and its scores."""
    given = [guess.text if guess.margin >= margin else "" for guess in guesses]
    pairs = list(zip(given, [each.answers for each in questions], strict=True))
    return Answers(
        split,
        [each.id for each in questions],
        [each.question for each in questions],
        [each.answers for each in questions],
        given,
        list(starmap(score_f1, pairs)),
        list(starmap(score_exact, pairs)),
    )


def answer_metrics(said: Answers) -> list[Metric]:
    """f1 and exact_match of all questions, in [0, 1]; where some have no answer, also of those that have one, and the
    share of the others to which none is given."""
    count, split = len(said.given), said.split
    metrics = [
        share("f1", sum(said.f1) / count, split=split, headline=True),
        share("exact_match", sum(said.exact) / count, split=split),
    ]
    of_answered = [f1 for f1, right in zip(said.f1, said.right, strict=True) if right]
    if len(of_answered) < count:
        silent = [not given for given, right in zip(said.given, said.right, strict=True) if not right]
        metrics.append(share("no_answer", sum(silent) / len(silent), split=split))
        if of_answered:
            metrics.append(share("f1_answered", sum(of_answered) / len(of_answered), split=split))
    return metrics


def wrong_answers(said: Answers, guesses: Sequence[Guess], questions: Sequence[Question]) -> Passages | None:
    """The questions whose answers have the least in common with a right one, the surest of equals first; None: all
    are right."""
    order = sorted(range(len(guesses)), key=lambda place: (said.f1[place], -guesses[place].margin))
    shown = [place for place in order if said.f1[place] < 1][:DRAWN]
    if not shown:
        return None
    return Passages(
        {
            "question": [said.questions[place] for place in shown],
            "context": [near_answer(questions[place]) for place in shown],
            "right": [" or ".join(said.right[place]) or "no answer" for place in shown],
            "given": [said.given[place] or "no answer" for place in shown],
        },
        "Test questions whose answers have the least in common with a right one.",
    )


def near_answer(question: Question) -> str:
    """The part of a context about its first answer, in brackets; its beginning where there is none."""
    context, start = question.context, question.start
    if start < 0:
        return context[: 2 * NEAR] + "…" * (len(context) > 2 * NEAR)
    end = start + len(question.answers[0])
    before, after = context[max(0, start - NEAR) : start], context[end : end + NEAR]
    cut = ["…" * (start > NEAR), "…" * (end + NEAR < len(context))]
    return f"{cut[0]}{before}[{context[start:end]}]{after}{cut[1]}".replace("\n", " ")


def score_f1(guess: str, answers: Sequence[str]) -> float:
    """`scores.answer_f1`; of a question without an answer, 1 if none is given (Rajpurkar, Jia, Liang 2018,
    https://arxiv.org/abs/1806.03822)."""
    return answer_f1(guess, answers) if answers else float(not guess)


def score_exact(guess: str, answers: Sequence[str]) -> float:
    """`scores.exact_match`, likewise."""
    return exact_match(guess, answers) if answers else float(not guess)


def best_margin(guesses: Sequence[Guess], questions: Sequence[Question]) -> float:
    """The margin from which an answer is given that has the highest F1, the lowest of several."""
    order = sorted(zip(guesses, questions, strict=True), key=lambda pair: pair[0].margin, reverse=True)
    total = float(sum(not each.answers for each in questions))  # no answer to any
    best, margin = total, math.inf if not order else order[0][0].margin + 1
    for guess, each in order:
        total += score_f1(guess.text, each.answers) - float(not each.answers)
        if total >= best:
            best, margin = total, guess.margin
    return margin


def span_entropy(logits: Tensor, answer: Tensor) -> Tensor:
    """(B, T, 2), (B, 2) -> (): the mean of the cross-entropies of first and last token."""
    return F.cross_entropy(logits, answer)


def best_answers(
    network: Spans, questions: Sequence[Question], windows: Windows, longest: int, device: torch.device
) -> list[Guess]:
    """The most probable span of all windows of each question, at most `longest` tokens long."""
    scores, firsts, lasts, nones = [], [], [], []
    with evaluating(network), torch.inference_mode():
        for ids in tracked(windows.ids.split(BATCH), "answers"):
            logits = network(ids.long().to(device)).float()
            score, first, last = best_spans(logits, longest)
            scores.append(score.cpu())
            firsts.append(first.cpu())
            lasts.append(last.cpu())
            nones.append(logits.log_softmax(dim=1)[:, 0].sum(dim=1).cpu())
    score, first, last, none = (torch.cat(parts) for parts in (scores, firsts, lasts, nones))
    best: dict[int, tuple[float, int]] = {}
    least: dict[int, float] = {}
    for place, number in enumerate(windows.question.tolist()):
        best[number] = max(best.get(number, (-torch.inf, place)), (score[place].item(), place))
        least[number] = min(least.get(number, torch.inf), none[place].item())
    answers = []
    for number, question in enumerate(questions):
        value, place = best[number]
        start, end = windows.start[place, first[place]], windows.end[place, last[place]]
        text = question.context[int(start) : int(end)] if value > -torch.inf else ""
        answers.append(Guess(text, value - least[number]))
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
