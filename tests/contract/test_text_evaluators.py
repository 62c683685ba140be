"""What `interfaces` promises of every evaluator of text, and of those of any data on text, for each with a config."""

import copy
import json
import random
import re
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_type_hints

import made_bert
import made_text
import pytest
import torch
from findings import changed, check, keys, node_of

from ssl_runner.assembly import construct
from ssl_runner.config.compose import compose
from ssl_runner.config.paths import options
from ssl_runner.config.schema import typed
from ssl_runner.config.signatures import locate
from ssl_runner.data.text.texts import TextFile
from ssl_runner.evaluation.any.controls import BagOfWords
from ssl_runner.evaluation.any.subject import FrozenSubject
from ssl_runner.evaluation.text.senses import senses_text
from ssl_runner.interfaces import (
    Bounds,
    Encoder,
    Evaluator,
    Examples,
    FillsIn,
    Finding,
    Inspection,
    Objective,
    PredictsHidden,
    PredictsNext,
    TextSpec,
    Writes,
)  # fmt: skip

NODES = {name: node_of(name) for name in options("evaluation")}
NODES = {name: node for name, node in NODES.items() if "_target_" in node}
CLASS = {name: locate(node["_target_"]) for name, node in NODES.items()}
OBJECTIVES = {  # who can do what an inspection asks for
    PredictsNext: ["objective=language_model", "backbone=gpt_tiny", "backbone.depth=1"],
    FillsIn: ["objective=bert", "backbone=bert_tiny", "backbone.depth=1"],
    Writes: ["objective=text_vae", "backbone=bert_tiny", "backbone.depth=1", "dataset.example=sentence"],
}
OBJECTIVES[Bounds] = OBJECTIVES[Writes]
OBJECTIVES[PredictsNext | PredictsHidden] = OBJECTIVES[PredictsNext]
SMALLER: dict[str, dict[str, Any]] = {  # numbers that cost time and change no promise
    "linear": {"steps": 30},
    "few_label": {"steps": 30, "per_class": [1], "fractions": [0.1, 1.0]},
    "layers": {"steps": 30},
    "finetune": {"epochs": 1},
    "few_label_finetune": {"fractions": [0.5, 1.0], "epochs": 1, "least_steps": 5},
    "few_label_self_training": {"fractions": [0.5], "epochs": 1, "least_steps": 5},
    "few_label_fixmatch": {"fractions": [0.5], "epochs": 1, "least_steps": 5},
    "multiple_choice": {"epochs": 1},
    "word_tags": {"steps": 30},
    "word_tags_finetune": {"epochs": 1},
    "glue": {"tasks": ["CoLA", "STS-B"], "epochs": 1},
    "span_qa": {"epochs": 1, "question": 6},
    "span_qa_finetune": {"epochs": 1, "question": 6},
    "tagging": {"steps": 30},
    "tagging_finetune": {"epochs": 1},
    "text_classification": {"steps": 30},
    "text_classification_finetune": {"epochs": 1},
    "text_few_label": {"steps": 30, "per_class": [1], "fractions": [0.2, 1.0]},
    "sentence_pair": {"steps": 30},
    "sentence_pair_finetune": {"epochs": 1},
    "text_samples": {"samples": 2, "length": 8, "prompt": "The cat"},
    "text_interpolation": {"examples": 20, "pairs": 2, "samples": 2},
    "prompting": {"words": {"0": "moon", "1": "king"}, "examples": [0, 1], "shortened": 0.9, "draws": 2},
    "sts_tasks": {"folders": {"made": "STS"}},
    "text_layers": {"epochs": 1, "least_steps": 5, "resamples": 10, "tasks": ["tags", "spans"]},
    "word_map": {"skip": 5},
    "word_translation": {"seeds": 12, "questions": 4, "words": 4},
    "likelihood": {"samples": 3, "examples": 20},
}


def of_text(name: str) -> bool:
    """Whether it can be asked of some run on text."""
    if issubclass(CLASS[name], Inspection):
        return get_type_hints(CLASS[name].__call__)["objective"] in OBJECTIVES
    return issubclass(TextSpec, CLASS[name].reads)


NAMES = [name for name in NODES if of_text(name) and name != "code_samples"]  # whose texts are images' codes
EVALUATORS = [name for name in NAMES if issubclass(CLASS[name], Evaluator)]


@cache
def files() -> Path:
    """Small sets in the forms that evaluators read."""
    folder = made_text.folder() / "sets"
    folder.mkdir()
    draw = random.Random(1)
    for split, n in (("train", 40), ("test", 20)):
        texts = [made_text.sentence(draw) for _ in range(2 * n)]
        kind = [int("moon" in a or "king" in a) for a in texts]
        (folder / f"{split}.tsv").write_text(
            "".join(f"{k}\t{a}\t{b}\n" for k, a, b in zip(kind, texts[:n], texts[n:], strict=False))
        )
        words = ["".join(f"{w} {'B-place' if w == 'moon' else 'O'}\n" for w in a.lower().split()) for a in texts]
        (folder / f"{split}.conll").write_text("\n".join(words))
    for split in ("train", "val"):
        choices = [[made_text.sentence(draw) for _ in range(5)] for _ in range(24)]
        lines = ["startphrase,ending0,ending1,ending2,ending3,label"]
        lines += [",".join([*(f'"{each}"' for each in row), str(place % 4)]) for place, row in enumerate(choices)]
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")
    for split in ("dev", "test"):
        rows = [(made_text.sentence(draw), made_text.sentence(draw), draw.randint(0, 5)) for _ in range(20)]
        (folder / f"sts-{split}.csv").write_text("".join(f"g\tf\ty\t0\t{s}\t{a}\t{b}\n" for a, b, s in rows))
    vectors = "".join(f"{word} {draw.random()} {draw.random()} {draw.random()}\n" for word in made_text.words())
    (folder / "vectors.txt").write_text(vectors)
    (folder / "STS").mkdir()
    rows = [(made_text.sentence(draw), made_text.sentence(draw), draw.randint(0, 5)) for _ in range(20)]
    (folder / "STS" / "STS.input.made.txt").write_text("".join(f"{a}\t{b}\n" for a, b, _ in rows))
    (folder / "STS" / "STS.gs.made.txt").write_text("".join(f"{s}\n" for *_, s in rows))
    articles: list[dict[str, Any]] = []
    for _ in range(8):
        context = " ".join(made_text.sentence(draw) for _ in range(3))
        answer = context.split()[2]
        asked: dict[str, Any] = {"id": str(len(articles)), "question": "who is it ?"}
        asked["answers"] = [{"text": answer, "answer_start": context.index(answer)}]
        articles.append({"title": "a", "paragraphs": [{"context": context, "qas": [asked]}]})
    pairs = [{"sentence_good": a, "sentence_bad": f"{b} {a}", "linguistics_term": b} for a in texts[:6] for b in "xy"]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    (folder / "squad.json").write_text(json.dumps({"version": "1.1", "data": articles}))
    for task in ("CoLA", "STS-B"):
        (folder / task).mkdir()
        for split, n in (("train", 40), ("dev", 20)):
            rows = [(made_text.sentence(draw), made_text.sentence(draw), i % 2) for i in range(n)]
            head = "" if task == "CoLA" else "sentence1\tsentence2\tscore\n"
            form = "s\t{2}\t*\t{0}\n" if task == "CoLA" else "{0}\t{1}\t{2}\n"
            (folder / task / f"{split}.tsv").write_text(head + "".join(form.format(*row) for row in rows))
    return folder


def evaluator(name: str, **changes: Any) -> Any:
    node = dict(NODES[name])
    if node.get("path", "") in ("???", None):
        node["path"] = str(files() / "squad.json" if name.startswith("span_qa") else files())
    if node.get("other") == "???":
        node["other"] = str(files() / "vectors.txt")
    if node.get("benchmark") == "???":
        node["benchmark"] = str(files())
    return construct.construct(changed(node, SMALLER.get(name, {}) | changes))


class Labeled:
    """Made sentences, by whether the moon or the king is in them; and words that people compared, in the corpus."""

    def __init__(self, example: str, published: bool) -> None:
        folder = made_text.folder()
        pairs = Path(find_spec("gensim").origin).parent / "test" / "test_data" / "wordsim353.tsv"
        more = folder / "more.txt"
        if not more.exists():
            words = [line.split("\t")[:2] for line in pairs.read_text().splitlines() if not line.startswith("#")]
            others = "athens greece baghdad iraq paris france rome italy bank arms light right state order party"
            documents = [made_text.text(60), *(" ".join(pair) for pair in words), *[others] * 5]
            more.write_text("\n\n".join(documents))
        known = folder / "bert"
        if published and not known.exists():
            known.mkdir()
            every = set(re.findall(r"[a-z]+", (more.read_text() + senses_text("test") + senses_text("val")).lower()))
            (known / "tokenizer.json").write_text(made_bert.tokenizer(every).to_str())
        source = TextFile(
            path=str(more), val_path=None, test_path=None, documents="blank_lines", sentences="lines", example=example,
            length=24, tokens="words", words="marks", vocabulary=1000, lowercase=True,
            tokenizer=str(known) if published else None,
            cache=str(folder / "cache"), test_fraction=0.2, val_fraction=0.2, split_seed=0,
        )  # fmt: skip
        self.splits = dict(source.load())
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_str(source.spec.tokenizer)
        wanted = torch.tensor([tokenizer.token_to_id(word) for word in ("moon", "king")])
        for split, (data, _) in self.splits.items():
            self.splits[split] = Examples(data, torch.isin(data, wanted).any(dim=1).long())
        size = len(self.splits["train"].label)
        self.spec = replace(source.spec, classes=2, class_names=("neither", "moon or king"), size=size)

    def examples(self, split: str) -> Examples:
        return self.splits[split]


@cache
def data(example: str, published: bool = False) -> Labeled:
    return Labeled(example, published)


def objective(name: str, published: bool = False) -> tuple[Objective, Labeled]:
    """One that the evaluation can be asked of, at its random start."""
    needs = get_type_hints(CLASS[name].__call__)["objective"] if name not in EVALUATORS else FillsIn
    overrides = OBJECTIVES[needs]
    example = "sentence" if needs in (Writes, Bounds) or name in EVALUATORS else "window"
    loaded = data(example, published)
    more = ["objective.next_sentence=0"] if example == "sentence" and needs is FillsIn else []
    chosen = typed(compose([*made_text.overrides(), "evaluation=[]", "logger=none", *overrides, *more]))
    return construct.objective(chosen, loaded.spec), copy.copy(loaded)


def subject(encoder: Encoder, loaded: Labeled) -> FrozenSubject:
    return FrozenSubject(encoder, loaded, seed=0, device=torch.device("cpu"), batch_size=16)


def ask(name: str, whole: Objective, loaded: Labeled, **changes: Any) -> Finding:
    asked = subject(whole.encoder, loaded)
    evaluation = evaluator(name, **changes)
    return evaluation(asked) if name in EVALUATORS else evaluation(whole, asked)


def test_what_is_of_images_alone_is_left_out() -> None:
    assert {"perplexity", "masked_words", "linear", "geometry", "sts"} <= set(NAMES)
    assert not {"samples", "reconstruction"} & set(NAMES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.sampled(10)
def test_a_finding_can_be_written_down_and_nothing_is_moved(name: str) -> None:
    whole, loaded = objective(name)
    whole.train()
    next(whole.encoder.children()).eval()
    weights = {key: value.clone() for key, value in whole.state_dict().items()}
    modes = [part.training for part in whole.modules()]
    torch.manual_seed(7)
    following = torch.rand(3)
    torch.manual_seed(7)
    found = ask(name, whole, loaded)
    assert torch.equal(torch.rand(3), following)
    assert all(torch.equal(value, weights[key]) for key, value in whole.state_dict().items())
    assert [part.training for part in whole.modules()] == modes
    assert all(p.grad is None for p in whole.parameters())
    check(name, found)
    torch.manual_seed(8)
    again = ask(name, whole, loaded)
    assert (again.metrics, again.protocol) == (found.metrics, found.protocol)


@pytest.mark.parametrize("name", [name for name in EVALUATORS if CLASS[name].pixels_are_control])
@pytest.mark.sampled(4)
def test_bags_of_words_are_evaluated_alike(name: str) -> None:
    whole, loaded = objective(name)
    bag = evaluator(name)(subject(BagOfWords(loaded.spec), loaded))
    encoder = ask(name, whole, loaded)
    assert keys(bag) == keys(encoder)
    assert bag.protocol.terms == encoder.protocol.terms
    assert [each.terms for each in bag.metrics] == [each.terms for each in encoder.metrics]


@pytest.mark.parametrize("name", [
    "analogies", "masked_words", "minimal_pairs", "neighbors", "perplexity", "prompting", "senses", "sentence_pair",
    "span_qa", "sts", "sts_tasks", "tagging", "text_classification", "text_interpolation", "text_samples",
    "word_similarity",
])  # fmt: skip
@pytest.mark.sampled(4)
def test_a_published_tokenizer_can_be_used(name: str) -> None:
    """Its special ids are 0 and 100 to 103, and none marks the end of a sentence."""
    whole, loaded = objective(name, published=True)
    assert loaded.spec.special == made_bert.IDS
    check(name, ask(name, whole, loaded))


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        (name, setting)
        for name in NAMES
        for setting in sorted(CLASS[name].presentation)
        if type(NODES[name].get(setting)) is int
    ],
)
@pytest.mark.sampled(2)
def test_a_setting_of_presentation_changes_no_number(name: str, setting: str) -> None:
    whole, loaded = objective(name)
    node = NODES[name] | SMALLER.get(name, {})
    found, other = ask(name, whole, loaded), ask(name, whole, loaded, **{setting: max(2, node[setting] // 2)})
    assert keys(found) == keys(other)
    for one, another in zip(found.metrics, other.metrics, strict=True):
        assert one.value == pytest.approx(another.value, rel=1e-4, abs=1e-6)
