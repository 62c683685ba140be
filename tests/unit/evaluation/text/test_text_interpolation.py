"""Texts whose codes are the texts themselves, so that what is written is known."""

import pytest
import torch
from findings import keys, names, value
from sentences import made
from special_ids import CLS, PAD, SEP, SPECIAL
from tokenizers import Tokenizer, models
from torch import Tensor

from ssl_runner.evaluation.text.text_interpolation import TextInterpolation, distinct, token_accuracy
from ssl_runner.figures import Passages
from ssl_runner.interfaces import Batch, Examples, Loss, Objective, TextSpec, Writes

WORDS = [*SPECIAL, *"abcdefghijklmn"]
TOKENIZER = Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="[UNK]"))
SPEC = TextSpec(length=8, vocabulary=20, tokenizer=TOKENIZER.to_str())
SETTINGS = {"examples": 40, "pairs": 3, "steps": 3, "samples": 4, "batch_size": 7}


class Copies(Objective[Tensor, Tensor]):
    """The code is the text plus `off`; what is written is the nearest text."""

    def __init__(self, off: float = 0.0) -> None:
        super().__init__()
        self.off = off

    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return batch.data, batch.data

    def loss(self, x: Tensor, y: Tensor) -> Loss:
        return Loss(x.float().sum())

    def encode(self, x: Tensor) -> Tensor:
        return x.float() + self.off

    def write(self, z: Tensor) -> Tensor:
        return z.round().long().clamp_min(0)


class WithPrior(Copies):
    def density(self) -> dict[str, str]:
        return {"family": "a test's"}

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.float(), x.float()

    def log_weights(self, x: Tensor, y: Tensor, samples: int) -> Tensor:
        return torch.zeros(samples, len(y))


class Table:
    spec = SPEC

    def examples(self, split: str) -> Examples:
        batch = made([6] * 30 + [3] * 10)
        return Examples(batch.data.int(), batch.label)


def found(subject, objective: Copies, **changes: int):
    return TextInterpolation(**SETTINGS | changes)(objective, subject("label", data=Table()))


def test_what_is_written_exactly_has_accuracy_1_and_that_of_another_far_less(subject) -> None:
    finding = found(subject, Copies())
    assert isinstance(Copies(), Writes)
    assert {(each.name, each.split) for each in finding.metrics if each.headline} == {
        ("token_accuracy", "test"),
        ("token_accuracy", "val"),
    }
    assert value(finding, "token_accuracy") == 1
    assert 0 < value(finding, "token_accuracy_of_another") < 0.5
    assert "distinct_samples" not in names(finding)
    assert value(found(subject, Copies(1.0)), "token_accuracy", "val") == 0
    assert found(subject, Copies(), examples=5).protocol.measured["test examples"] == 5


def test_texts_on_the_line_between_two(subject) -> None:
    figure = found(subject, Copies()).figures["between two sentences"]
    assert isinstance(figure, Passages)
    assert list(figure.rows) == ["one", "0 %", "50 %", "100 %", "the other"]
    assert all(len(row) == 3 for row in figure.rows.values())
    assert figure.rows["one"] == figure.rows["0 %"]
    assert figure.rows["the other"] == figure.rows["100 %"]
    one, middle, other = (figure.rows[name][0].split() for name in ("one", "50 %", "the other"))
    for a, m, b in zip(one, middle, other, strict=False):
        assert abs(2 * WORDS.index(m) - WORDS.index(a) - WORDS.index(b)) <= 1


def test_where_there_is_a_prior_its_texts_are_shown_and_counted(subject) -> None:
    finding = found(subject, WithPrior())
    assert len(finding.figures["samples from the prior"].rows["sample"]) == 4
    assert 0 <= value(finding, "distinct_samples") <= 1
    assert len(keys(finding)) == 5


def test_measures_by_hand() -> None:
    truth = torch.tensor([[CLS, 7, 8, SEP, PAD], [CLS, 9, SEP, PAD, PAD]])
    written = torch.tensor([[PAD, 7, 9, SEP, PAD], [CLS, 9, 9, SEP, PAD]])
    assert token_accuracy(written, truth, PAD) == pytest.approx(3 / 5)
    assert distinct(torch.tensor([[1, 2], [1, 2], [1, 3], [2, 2]])) == 0.5
    assert distinct(torch.ones(4, 3)) == 0


@pytest.mark.parametrize("wrong", [{"examples": 1}, {"pairs": 0}, {"steps": 1}, {"samples": 1}, {"batch_size": 0}])
def test_refusals(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=rf"evaluation\.text_interpolation\.{next(iter(wrong))} is"):
        TextInterpolation(**SETTINGS | wrong)
