"""Prompts and their answers, with models of which the right answer is known."""

import math
from pathlib import Path

import pytest
import torch
from findings import changed, names, node_of, value
from special_ids import CLS, PAD, UNK
from texts import subject as text_subject
from texts import text_spec
from torch import Tensor, nn

from ssl_runner.assembly.construct import construct
from ssl_runner.config.errors import ConfigError
from ssl_runner.data.text.in_context import InContext
from ssl_runner.evaluation.any.subject import FrozenSubject
from ssl_runner.evaluation.text.data import Texts
from ssl_runner.evaluation.text.prompting import Model, Prompting, half_width
from ssl_runner.evaluation.text.prompts import cut, parse, prompt, room
from ssl_runner.interfaces import Examples, Finding

TOY = {"template": "{text} {label} ; ", "blanks": ["?"], "draws": 3}


def build(**changes: object) -> Prompting:
    return construct(changed(node_of("prompting"), TOY | changes))


# ------------------------------------------------------------------------------------------------------------- prompts


def test_a_prompt_worked_by_hand():
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(text_spec().tokenizer)
    made = cut(tokenizer, parse("key", "who {text} is {label} at "), ["good", "bad"], [CLS])

    def ids(text: str) -> list[int]:
        return tokenizer.encode(text).ids

    shown = [(ids("the cat sat"), 1), (ids("a dog"), 0)]
    assert prompt(made, shown, ids("the mat on mat"), 2) == [
        CLS,
        *ids("who the cat is bad at who a dog is good at who the mat is"),
    ]
    assert room(made, 0, 10) == 10 - 1 - 3  # [CLS], "who", "is" and the label
    assert room(made, 2, 30) == (30 - 1 - 3 - 2 * 4) // 3


def test_spaces_belong_to_the_token_after_them_as_tokenizers_of_bytes_have_it():
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(text_spec(tokens="bpe").tokenizer)
    made = cut(tokenizer, parse("key", "who: {text}\nis {label}\n"), ["good", "bad"], [])
    assert made.after == tokenizer.encode("a\n").ids[1:]
    text = tokenizer.encode(f"{made.lead}the cat").ids
    whole = tokenizer.encode("who: the cat\nis").ids
    assert prompt(made, [], text, 99) == whole
    assert tokenizer.decode(made.labels[0]) == " good"
    assert len(made.labels[0]) == len(tokenizer.encode(" good").ids)


@pytest.mark.parametrize(
    "template", ["{text}", "{label}", "{label} {text}", "{text} {text} {label}", "{text} {label} {x}", 
                 "{text!r} {label}", "{text} {label", "{0} {label}", ""],
)  # fmt: skip
def test_a_template_without_its_slots_is_refused(template):
    with pytest.raises(ConfigError, match=r"^evaluation\.prompting\.template is .*; it must have the slots {text} and"):
        build(template=template)


# ------------------------------------------------------------------------------------------------------------- answers


class Recalls(nn.Module):
    """Prefers the labels that words of the kind that is asked for have in the prompt, and each label by its bias."""

    def __init__(self, made: InContext, bias: Tensor) -> None:
        super().__init__()
        vocab = made.spec.vocabulary
        self.kind = torch.full((vocab,), -1)
        words = 6 + 1 + made.labels
        self.kind[words:] = torch.arange(len(made.words)) // (len(made.words) // made.kinds)
        self.labels = list(range(7, words))
        self.bias = bias
        self.vocab = vocab

    def next_logits(self, tokens: Tensor) -> Tensor:
        kind, end = self.kind[tokens], (tokens != PAD).sum(dim=1, keepdim=True)
        same = (kind == kind.gather(1, end - 1)) & (kind >= 0) & (torch.arange(tokens.shape[1]) < end - 1)
        said = same.roll(1, 1).float()  # of a word its label, which follows it
        seen = torch.zeros(len(tokens), self.vocab).scatter_add_(1, tokens, said) > 0
        scores = torch.full((len(tokens), self.vocab), -50.0)
        scores[:, self.labels] = self.bias + 3 * seen[:, self.labels]
        return scores

    def log_likelihood(self, tokens: Tensor) -> Tensor:
        found = [self.next_logits(tokens[:, : n + 1]).log_softmax(1) for n in range(tokens.shape[1] - 1)]
        nats = torch.stack(found, dim=1).gather(2, tokens[:, 1:, None])[..., 0]
        return nats.masked_fill(tokens[:, 1:] == PAD, 0)


class Made:
    """The data of a run on made tasks."""

    def __init__(self, source: InContext) -> None:
        self.source = source
        self.spec = source.spec

    def examples(self, split: str) -> Examples:
        return self.source.load()[split]

    def tasks(self, split: str):
        return self.source.tasks(split)


def source() -> InContext:
    return InContext(
        examples=80, test_examples=40, kinds=3, words=4, labels=3, shots=8, val_fraction=0.5, seed=0
    )  # fmt: skip


def ask(model: nn.Module, made: InContext, **changes: object) -> Finding:
    asked = FrozenSubject(nn.Identity(), Made(made), seed=0, device=torch.device("cpu"), batch_size=8)
    evaluation = build(**changes)
    evaluation.check(made.spec)
    return evaluation(model, asked)


def test_accuracy_rises_with_examples_as_a_loop_over_tasks_says():
    made = source()
    model = Recalls(made, torch.zeros(3))
    found = ask(model, made)
    kind = {word: place // 4 for place, word in enumerate(made.words)}
    for k in (0, 1, 4, 8):
        right = []
        for draw in range(3 if k else 1):
            generator = torch.Generator().manual_seed(draw)
            for task in made.tasks("test"):
                order = torch.randperm(8, generator=generator)[:k].tolist()
                known = {kind[task.texts[i]]: task.labels[i] for i in order}
                right.append(known.get(kind[task.texts[-1]], "L0") == task.labels[-1])
        assert value(found, "accuracy", examples=k, calibrated="no") == pytest.approx(sum(right) / len(right))
    assert value(found, "accuracy", examples=8, calibrated="no") > 0.9
    assert value(found, "accuracy", examples=0, calibrated="no") < 0.5
    assert found.protocol.measured["left out"] == []
    assert found.protocol.measured["unknown"] == {"in the template": 0, "in the labels": 0}
    assert [(each.name, each.condition) for each in found.metrics if each.headline and each.split == "test"] == [
        ("accuracy", {"examples": 8, "calibrated": "no"}),
        ("accuracy", {"examples": 8, "calibrated": "yes"}),
    ]
    assert list(found.figures["examples in the prompt"].x) == [0, 1, 2, 4, 8]


def test_calibration_takes_a_bias_away():
    """A bias that outweighs what the examples say: the answer is always the same, until it is calibrated."""
    made = source()
    fair, biased = (ask(Recalls(made, torch.tensor(bias)), made) for bias in ([0.0, 0.0, 0.0], [0.0, 9.0, 4.0]))
    always = sum(task.labels[-1] == "L1" for task in made.tasks("test")) / 40
    assert value(biased, "accuracy", examples=8, calibrated="no") == pytest.approx(always)
    for k in (4, 8):
        plain = value(fair, "accuracy", examples=k, calibrated="no")
        assert value(biased, "accuracy", examples=k, calibrated="yes") == pytest.approx(plain)


def test_scores_of_single_tokens_are_those_of_whole_labels_and_longer_labels_are_per_token():
    made = source()
    model = Model(Recalls(made, torch.tensor([0.0, 1.0, 2.0])), torch.device("cpu"), PAD, 3)
    rows = [[CLS, 11, 8, 6, 12], [CLS, 14], [CLS, 20, 9, 6, 15], [CLS, 13]]
    single = model.scores(rows, [[7], [8]])
    torch.testing.assert_close(single[:, 0], model._whole(rows, [7]), atol=1e-5, rtol=0)
    longer = model.scores(rows, [[7, 8, 9], [8]])
    torch.testing.assert_close(longer[:, 1], single[:, 1], atol=1e-5, rtol=0)
    for row, score in zip(rows, longer[:, 0].tolist(), strict=True):
        nats, text = 0.0, list(row)
        for token in (7, 8, 9):
            nats += model.network.next_logits(torch.tensor([text])).log_softmax(1)[0, token].item()
            text.append(token)
        assert score == pytest.approx(nats / 3, abs=1e-5)


def test_the_half_width_of_an_interval():
    assert half_width([0.5]) == 0
    mean, deviation = 0.6, math.sqrt((0.01 + 0.0 + 0.01) / 2)
    assert half_width([mean - 0.1, mean, mean + 0.1]) == pytest.approx(4.302653 * deviation / math.sqrt(3))


# --------------------------------------------------------------------------------------------------------------- files


class Echo(nn.Module):
    """Scores a token by how often it is among the last nine."""

    def next_logits(self, tokens: Tensor) -> Tensor:
        place, end = torch.arange(tokens.shape[1]), (tokens != PAD).sum(dim=1, keepdim=True)
        near = (place < end) & (place >= end - 9)
        return torch.zeros(len(tokens), text_spec().vocabulary).scatter_add_(1, tokens, near.float())

    def log_likelihood(self, tokens: Tensor) -> Tensor:
        found = [self.next_logits(tokens[:, : n + 1]).log_softmax(1) for n in range(tokens.shape[1] - 1)]
        nats = torch.stack(found, dim=1).gather(2, tokens[:, 1:, None])[..., 0]
        return nats.masked_fill(tokens[:, 1:] == PAD, 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = {"no": "the film was bad bad bad", "yes": "the film was good good good"}
    for split, n in (("train", 20), ("test", 6)):
        lines = [f"{label}\t{rows[label]}\n" for label in ("no", "yes")[:: 1 if split == "train" else -1] * (n // 2)]
        (tmp_path / f"{split}.tsv").write_text("".join(lines))
    return tmp_path


WORDS = {"no": "bad", "yes": "good"}


def of_files(folder: Path, **changes: object) -> Finding:
    given = {"path": str(folder), "words": WORDS, "length": 64, "template": "film {text} it was {label} at "}
    return build(**given | changes)(Echo(), text_subject(nn.Identity(), text_spec(length=64)))


def test_labeled_texts_of_a_users_files(folder):
    found = of_files(folder)
    for k in (0, 1, 2, 4):
        assert value(found, "accuracy", examples=k, calibrated="no") == 1.0  # the words are said in the text
    assert value(found, "majority") == 0.5
    assert found.protocol.measured["left out"] == [8]
    assert found.protocol.measured["tokens per label"] == {"no": 1, "yes": 1}
    assert found.protocol.measured["test questions"] == 6
    assert value(of_files(folder, questions=3), "accuracy", examples=0, calibrated="no") == 1.0
    assert "half_width" in names(found)


def test_labels_of_several_tokens_are_scored_per_token(folder):
    found = of_files(folder, words={"no": "bad bad nice", "yes": "good"})
    assert found.protocol.measured["tokens per label"] == {"no": 3, "yes": 1}
    assert value(found, "accuracy", examples=0, calibrated="no") >= 0.5


def test_what_the_vocabulary_lacks_is_counted(folder):
    found = of_files(folder, template="Mensch {text} Welt: {label} at ", words={"no": "bad Welt", "yes": "good"})
    assert found.protocol.measured["unknown"]["in the template"] >= 2
    assert found.protocol.measured["unknown"]["in the labels"] == 1
    assert UNK == 1


def test_examples_that_do_not_fit_are_left_out_and_refused_where_none_fits(folder):
    assert of_files(folder, length=40).protocol.measured["left out"] == [4, 8]
    with pytest.raises(
        ValueError, match=r"^evaluation\.prompting\.examples is \[8\]: no such number fits in 64 tokens"
    ):
        of_files(folder, examples=[8])
    with pytest.raises(ValueError, match=r"no such number fits in 5 tokens"):
        of_files(folder, length=5)


def test_labels_that_cannot_be_told_apart_are_refused(folder):
    with pytest.raises(
        ValueError, match=r"^evaluation\.prompting\.words: the labels 'no' and 'yes' are 'Ja' and 'Nee'"
    ):
        of_files(folder, words={"no": "Ja", "yes": "Nee"})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"examples": []}, r"examples is \[\]; it must be different numbers, 0 or more"),
        ({"examples": [1, 1]}, r"examples is \[1, 1\]"),
        ({"examples": [-1]}, r"examples is \[-1\]"),
        ({"blanks": []}, "blanks is empty"),
        ({"draws": 0}, "draws is 0; it must be at least 1"),
        ({"shortened": 1.0}, r"shortened is 1\.0; it is a share and must lie in \[0, 1\)"),
        ({"words": {"maybe": "good"}}, "words names the label 'maybe', and the labels of train are no, yes"),
    ],
)
def test_what_cannot_be_is_refused(folder, wrong, message):
    with pytest.raises(ConfigError, match=message):
        build(path=str(folder), **wrong)


def test_data_without_tasks_need_files():
    with pytest.raises(ValueError, match=r"^evaluation\.prompting\.path is null, and these data have no tasks"):
        build().check(Texts(text_spec(), {}).spec)
