from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
from findings import keys, value
from special_ids import EOS, MASK, PAD
from torch import Tensor, nn
from toy_text import Corpus, subject

from ssl_runner.evaluation.text.masked_words import MaskedWords
from ssl_runner.interfaces import Batch, Loss, Objective


class Shown(NamedTuple):
    text: Tensor
    answers: Tensor


class Guess(Objective[Shown, Tensor]):
    """Hides two random places of each example, the second only where the first is before the fifth, and is right in
    the first of them alone."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def split(self, batch: Batch) -> tuple[Shown, Tensor]:
        places = torch.rand(batch.data.shape).argsort(dim=1)[:, :2]
        tokens = batch.data.gather(1, places)
        tokens[:, 1] = tokens[:, 1].where(places[:, 0] < 5, PAD)
        answers = tokens.clone()
        answers[:, 1] = (tokens[:, 1] + 1) * (tokens[:, 1] != PAD)  # where nothing is asked nothing can be right
        return Shown(batch.data.scatter(1, places, MASK), answers), tokens

    def loss(self, x: Shown, y: Tensor) -> Loss:
        return Loss(torch.zeros(()))

    def hidden(self, x: Shown, y: Tensor) -> Tensor:
        return y

    def hides(self) -> dict[str, int]:
        return {"places": 2}

    def fill_in(self, x: Shown) -> Tensor:
        return self.drop(x.answers.double()).long()  # wrong outside of eval mode


def masked_words(**settings: int) -> MaskedWords:
    return MaskedWords(**{"examples": 100, "batch_size": 100, "seed": 0} | settings)


def test_accuracy_beside_the_most_frequent_token():
    data = Corpus()
    data.streams["train"][:200] = 8
    data.streams["test"][::2] = 8
    found = masked_words()(Guess(), subject(data))
    torch.manual_seed(0)
    index = torch.randperm(19)
    batch = Batch(data.splits["test"].data[index].long(), torch.full((19,), -1), index)
    tokens = Guess().split(batch)[1]
    asked = int((tokens != PAD).sum())
    assert 19 < asked < 38
    assert value(found, "accuracy") == pytest.approx(19 / asked)
    assert value(found, "accuracy_most_frequent") == pytest.approx(int((tokens == 8).sum()) / asked)
    assert found.protocol.measured["hidden"] == round(asked / 171, 4)
    assert found.protocol.measured["test examples"] == 19
    assert found.protocol.terms["hides"] == {"places": 2}


def test_special_tokens_are_no_answer():
    data = Corpus()
    data.streams["train"][:300] = EOS
    data.streams["train"][300:] = 9
    data.streams["test"][:] = 9
    assert value(masked_words()(Guess(), subject(data)), "accuracy_most_frequent") == 1


def test_all_runs_are_asked_the_same():
    data, model = Corpus(), Guess().train()
    first = masked_words()(model, subject(data, seed=0))
    second = masked_words()(model, subject(data, seed=5))
    assert first.metrics == second.metrics
    assert model.training
    assert masked_words(seed=3)(model, subject(data)).metrics != first.metrics
    assert masked_words(examples=7)(model, subject(data)).protocol.measured["test examples"] == 7


def test_val_is_asked_as_test_is():
    data = Corpus()
    found = masked_words()(Guess(), subject(data))
    data.splits["val"], data.splits["test"] = data.splits["test"], data.splits["val"]
    other = masked_words()(Guess(), subject(data))
    assert [key[:2] for key in keys(found)] == [
        (name, split) for split in ("test", "val") for name in ("accuracy", "accuracy_most_frequent")
    ]
    assert value(found, "accuracy", "val") == value(other, "accuracy")
    assert value(found, "accuracy_most_frequent", "val") == value(other, "accuracy_most_frequent")
    assert value(found, "accuracy_most_frequent", "val") != value(found, "accuracy_most_frequent")


def test_other_tokens_and_other_places_are_other_terms():
    data, model = Corpus(), Guess()
    terms = masked_words()(model, subject(data)).protocol.terms
    data.spec = replace(data.spec, tokenizer=data.spec.tokenizer.replace("mat", "rug"))
    tokens = masked_words()(model, subject(data)).protocol.terms
    assert {key for key in terms if terms[key] != tokens[key]} == {"tokenizer"}
    model.hides = lambda: {"places": 3}
    assert masked_words()(model, subject(data)).protocol.terms == {**tokens, "hides": {"places": 3}}


@pytest.mark.parametrize("wrong", [{"examples": 0}, {"batch_size": 0}], ids=str)
def test_refusals(wrong):
    with pytest.raises(ValueError, match=rf"evaluation\.masked_words\.{next(iter(wrong))} is 0"):
        masked_words(**wrong)
