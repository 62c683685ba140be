"""GLUE: nine tasks on sentences and sentence pairs, and their average."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from ssl_runner.evaluation.any.scores import (
    accuracy,
    f1,
    majority,
    matthews,
    pearson,
    spearman,
)
from ssl_runner.evaluation.any.subject import TOLD
from ssl_runner.evaluation.any.tuning import Recipe
from ssl_runner.evaluation.text import bag_of_words
from ssl_runner.evaluation.text.data import (
    Files,
    TextSet,
    check_length,
    cut_share,
    find_files,
    fingerprint_of,
    read_set,
    with_val,
)
from ssl_runner.evaluation.text.heads import Answer, decided, is_control, tuned_answer
from ssl_runner.evaluation.text.reading import named_text_layer, reading, text_spec
from ssl_runner.interfaces import DataSpec, Evaluator, Finding, Subject, TextSpec
from ssl_runner.results.metrics import (
    Better,
    Metric,
    Protocol,
    Split,
    Unit,
    share,
)


class Task(NamedTuple):
    """A task and its files. Columns are names in the header, or numbers where there is no header."""

    label: int | str
    texts: tuple[int | str, ...]
    metrics: tuple[str, ...]
    dev: str = "dev.tsv"
    second_dev: str | None = None  # of other sources than train; its score counts as much as the first one's


TASKS = {
    "CoLA": Task(1, (3,), ("matthews",)),
    "SST-2": Task("label", ("sentence",), ("accuracy",)),
    "MRPC": Task("Quality", ("#1 String", "#2 String"), ("f1", "accuracy")),
    "STS-B": Task("score", ("sentence1", "sentence2"), ("pearson", "spearman")),
    "QQP": Task("is_duplicate", ("question1", "question2"), ("f1", "accuracy")),
    "MNLI": Task("gold_label", ("sentence1", "sentence2"), ("accuracy",), "dev_matched.tsv", "dev_mismatched.tsv"),
    "QNLI": Task("label", ("question", "sentence"), ("accuracy",)),
    "RTE": Task("label", ("sentence1", "sentence2"), ("accuracy",)),
    "WNLI": Task("label", ("sentence1", "sentence2"), ("accuracy",)),
}
POSITIVE = "1"  # the class of MRPC and QQP whose F1 is meant: a paraphrase
METRICS: dict[str, tuple[Unit, Callable[[Tensor, Tensor, int], float]]] = {  # of answers, labels, and that class
    "accuracy": (Unit.SHARE, lambda predicted, label, _: accuracy(predicted, label)),
    "f1": (Unit.SHARE, f1),
    "matthews": (Unit.CORRELATION, lambda predicted, label, _: matthews(predicted, label)),
    "pearson": (Unit.CORRELATION, lambda predicted, score, _: pearson(predicted, score)),
    "spearman": (Unit.CORRELATION, lambda predicted, score, _: spearman(predicted, score)),
}
LEAST = 10  # examples of train, so that a tenth can be val


class GLUE(Evaluator):
    """Fine-tune a copy of the encoder on each of GLUE's tasks, and score it on the dev set: labels of test sets are not
    public.

    A folder a task in `path`, as GLUE is distributed: CoLA/train.tsv, MNLI/dev_matched.tsv. How: `text_heads.tune`; one
    recipe for all, nothing is chosen. `examples`: of each train and dev set at most, drawn with a fixed seed; null:
    all. `length`: tokens of an example (`text_layers.text_spec`). Rows that are too short (QQP has some) are left out.
    "test" is the dev set; "val" is a tenth of train, always the same, which is not trained on. Metrics, on both:
    average, of the tasks' scores; for each task its score, the mean of its metrics, MNLI's on test of both dev sets;
    each metric, in [0, 1], correlations in [-1, 1]; and majority, the accuracy of train's most frequent class. A mean
    of accuracies and correlations is a plain number. Bag of words: as in `sentence_pair`. Wang, Singh, Michael, Hill,
    Levy, Bowman 2019, https://arxiv.org/abs/1804.07461, sections 3 and 5; the tasks' metrics are its table 1's. Differs
    from the paper: dev sets; nine tenths of train; and no diagnostic set.
    """

    needs_labels: ClassVar[bool] = False  # of the data that were pretrained on
    reads: ClassVar[type[DataSpec]] = TextSpec
    presentation: ClassVar[frozenset[str]] = frozenset({"path", "tasks"})  # the average's terms have the tasks

    def __init__(
        self,
        *,
        path: str,
        tasks: list[str],
        examples: int | None,
        length: int,
        layer: str | int,
        recipe: Recipe,
    ) -> None:
        key = "evaluation.glue"
        if not tasks or not set(tasks) <= set(TASKS) or len(set(tasks)) < len(tasks):
            raise ValueError(
                f"{key}.tasks is {list(tasks)}; it must be a subset of {', '.join(TASKS)}, without repeats"
            )
        if examples is not None and examples < LEAST:
            raise ValueError(f"{key}.examples is {examples}; it must be at least {LEAST}, or null for all")
        check_length(key, length, least=5)
        self.length = length
        self.layer = named_text_layer(f"{key}.layer", layer)
        self.recipe = recipe
        self.recipe.check(f"{key}.recipe")
        self.examples = examples
        self.files = {name: task_files(key, path, name, tasks) for name in TASKS if name in tasks}
        self.contents = {
            "path": {f"{name}/{split}": f for name, files in self.files.items() for split, f in files.items()}
        }

    def __call__(self, subject: Subject) -> Finding:
        scores: list[Metric] = []
        details: list[Metric] = []
        spec = text_spec(subject, self.length)
        prints, cut, chosen, controls = [], {}, {}, {}
        for name, files in self.files.items():
            texts = bounded(read_task(name, files), self.examples)
            others = [(texts.texts.pop("val"), texts.label.pop("val"))] if "val" in texts.texts else []  # are test too
            texts = with_val(texts)
            prints.append(texts.fingerprint)
            cut[name] = cut_share(spec, texts.texts["test"])
            if is_control(subject):
                control = bag_of_words.control(spec, texts)
                answer, chosen[name], controls[name] = control
            else:
                answer = tuned_answer(subject, spec, texts, self.layer, self.recipe)
            for split in TOLD:
                found = judged(name, texts, answer, texts.texts[split], texts.label[split], split)
                for rows, label in others if split == "test" else []:
                    found += judged(name, texts, answer, rows, label, split, set="mismatched")
                scores.append(mean_of("score", found, {"task": name}, {"files": texts.fingerprint}))
                details += found
                if texts.classes:
                    details.append(
                        share(
                            "majority",
                            majority(texts.label["train"], texts.label[split]),
                            better=Better.NEITHER,
                            split=split,
                            condition={"task": name},
                            terms={"files": texts.fingerprint},
                        )
                    )
        terms = {"tasks": list(self.files), "files": fingerprint_of(each.encode() for each in prints)}
        averages = [mean_of("average", [each for each in scores if each.split == split], {}, terms) for split in TOLD]
        return Finding(
            [*(replace(each, headline=True) for each in averages), *scores, *details],
            Protocol(
                terms={"method": "fine-tuning of all weights on each task", "scored on": "the dev sets"},
                chosen={name: each for name, each in chosen.items() if each},
                measured={**reading(spec, cut), "seed": subject.seed, **({"control": controls} if controls else {})},
            ),
        )


def judged(
    name: str,
    texts: TextSet,
    answer: Answer,
    rows: Sequence[tuple[str, ...]],
    label: Tensor,
    split: Split,
    **condition: str,
) -> list[Metric]:
    """All metrics of a task on some rows."""
    task = TASKS[name]
    positive = texts.classes.index(POSITIVE) if "f1" in task.metrics else 0
    predicted = decided(answer(rows))
    return [
        Metric(
            name=metric,
            value=score(predicted, label, positive),
            unit=unit,
            better=Better.HIGHER,
            split=split,
            condition={"task": name, **condition},
            terms={"files": texts.fingerprint},
        )
        for metric in task.metrics
        for unit, score in (METRICS[metric],)
    ]


def mean_of(
    name: str, scores: Sequence[Metric], condition: Mapping[str, str | int | float], terms: Mapping[str, Any]
) -> Metric:
    """The mean of scores on one split, in their common unit if they have one."""
    units = {each.unit for each in scores}
    return Metric(
        name=name,
        value=sum(each.value for each in scores) / len(scores),
        unit=units.pop() if len(units) == 1 else Unit.PLAIN,
        better=Better.HIGHER,
        split=scores[0].split,
        condition=condition,
        terms=terms,
    )


def task_files(key: str, path: str, name: str, tasks: Sequence[str]) -> Files:
    """The files of a task. Raises ValueError where one is not there."""
    folder, task = Path(path).expanduser() / name, TASKS[name]
    wanted = [each for each in ("train.tsv", task.dev, task.second_dev) if each is not None]
    missing = [each for each in wanted if not (folder / each).is_file()]
    if missing:
        raise ValueError(
            f"{key}.path is {path!r}, and {str(folder)!r} has no {', '.join(missing)}; set it to a folder in GLUE's "
            f"layout, or leave the task out: {key}.tasks=[{','.join(each for each in tasks if each != name)}]"
        )
    return find_files(key, str(folder), {"train": "train.tsv", "val": task.second_dev, "test": task.dev})


def read_task(name: str, files: Files) -> TextSet:
    """A task; "test" is its dev set, "val" the second one, where it has two. Raises ValueError as `read_set` does."""
    task = TASKS[name]
    columns = {f"{name}'s label": task.label} | {f"{name}'s text {n}": text for n, text in enumerate(task.texts, 1)}
    return read_set(files, columns, labels="scores" if name == "STS-B" else "classes", short="skip")


def bounded(texts: TextSet, most: int | None) -> TextSet:
    """At most so many examples of each split, always the same."""
    if most is None:
        return texts
    chosen = {
        split: torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:most].sort().values
        for split, rows in texts.texts.items()
    }
    return texts._replace(
        texts={split: [texts.texts[split][place] for place in places] for split, places in chosen.items()},
        label={split: texts.label[split][places] for split, places in chosen.items()},
    )
