"""ELECTRA: what is masked, what the generator draws, and both losses by hand."""

import math

import pytest
import torch
from sentences import SPEC, Words, made
from special_ids import CLS, MASK, PAD, SEP

from ssl_runner.backbones.transformer import BERT
from ssl_runner.interfaces import Batch, TextSpec
from ssl_runner.objectives.electra import Electra, drawn_from

SETTINGS = {"ratio": 0.4, "weight": 3.0, "generator_dim": 6, "generator_depth": 1, "generator_heads": 2}


def task(**changed: float) -> Electra:
    torch.manual_seed(0)
    return Electra(Words(), SPEC, **SETTINGS | changed).eval()


def test_a_share_of_the_words_is_masked() -> None:
    batch = made([6, 5, 2, 1] * 20)
    x, y = task().split(batch)
    for text, shown, places, tokens in zip(batch.data, x.text, x.places.tolist(), y.tokens.tolist(), strict=True):
        words = int((text > 5).sum())
        asked = [place for place in places if place >= 0]
        assert len(asked) == max(1, round(0.4 * words))
        assert (shown == MASK).nonzero().flatten().tolist() == asked
        assert [text[place].item() for place in asked] == [token for token in tokens if token != PAD]
        for place, (before, now) in enumerate(zip(text.tolist(), shown.tolist(), strict=True)):
            assert now == (MASK if place in asked else before)
    assert torch.equal(x.places, y.places)


def test_tokens_are_drawn_by_their_probability() -> None:
    p = torch.tensor([0.1, 0.0, 0.6, 0.3])
    drawn = torch.arange(0.005, 1, 0.01)
    found = drawn_from(p.log().expand(1, 100, 4), drawn[None])
    assert torch.equal(
        found.bincount() if found.ndim == 1 else found[0].bincount(minlength=4), torch.tensor([10, 0, 60, 30])
    )


def test_the_loss_is_that_of_the_generator_and_that_of_every_token() -> None:
    model = task()
    x, y = model.split(made([6, 4, 2]))
    with torch.no_grad():
        found = model.loss(x, y)
        scores = model.generator(x.text, x.places.long().clamp(min=0), model.encoder.embedding)
        likelihood, judged, right = [], [], []
        text, replaced = x.text.clone(), torch.zeros_like(x.text)
        guess = drawn_from(scores, x.drawn)
        for i in range(3):
            for k, place in enumerate(x.places[i].tolist()):
                if place >= 0:
                    likelihood.append(-scores[i, k].log_softmax(dim=0)[y.tokens[i, k]].item())
                    text[i, place] = guess[i, k]
                    replaced[i, place] = int(guess[i, k] != y.tokens[i, k])
        logits = model.judge(model.encoder(text).tokens)[:, :, 0]
        for i in range(3):
            for n in range(text.shape[1]):
                if x.text[i, n] not in (PAD, CLS, SEP):
                    p = 1 / (1 + math.exp(-logits[i, n].item()))
                    judged.append(-math.log(p if replaced[i, n] else 1 - p))
                    right.append((p > 0.5) == bool(replaced[i, n]))
    assert len(judged) == 6 + 4 + 2
    assert found.logs["generator_loss"].item() == pytest.approx(sum(likelihood) / len(likelihood), rel=1e-4)
    assert found.logs["judge_loss"].item() == pytest.approx(sum(judged) / len(judged), rel=1e-4)
    assert found.logs["accuracy"].item() == pytest.approx(sum(right) / len(right))
    expected = sum(likelihood) / len(likelihood) + 3 * sum(judged) / len(judged)
    assert found.value.item() == pytest.approx(expected, rel=1e-4)


def test_the_discriminator_teaches_the_generator_nothing() -> None:
    model = task(weight=1e6)
    x, y = model.split(made([6, 6]))
    large = torch.autograd.grad(model.loss(x, y).value, list(model.generator.transformer.parameters()))
    model.weight = 1e-6
    small = torch.autograd.grad(model.loss(x, y).value, list(model.generator.transformer.parameters()))
    for one, other in zip(large, small, strict=True):
        torch.testing.assert_close(one, other)


def test_shuffled_labels_lie_where_another_text_was_masked() -> None:
    model = task()
    x, y = model.split(made([6] * 5))
    same, other = model.shuffle(x, y)
    assert same is x
    assert not torch.equal(other.places, x.places)
    assert not torch.equal(other.tokens, y.tokens)


@pytest.mark.slow
def test_replaced_tokens_are_told_where_each_follows_from_the_one_before() -> None:
    """In texts that count upwards; saying "original" of all tokens costs some 0.4 nats."""
    torch.manual_seed(0)
    spec = TextSpec(length=24, vocabulary=40)
    encoder = BERT(spec, dim=32, depth=2, heads=2, mlp_ratio=2.0, norm="layer", dropout=0.0, positions=None)
    model = Electra(encoder, spec, **SETTINGS | {"ratio": 0.15, "weight": 50.0, "generator_dim": 16})
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(350):
        text = 6 + (torch.randint(0, 34, (32, 1)) + torch.arange(24)) % 34
        loss = model.loss(*model.split(Batch(text, torch.zeros(32), torch.arange(32))))
        optimizer.zero_grad()
        loss.value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    assert loss.logs["judge_loss"] < 0.2


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"ratio": 0.0}, r"objective\.ratio is 0\.0"),
        ({"weight": 0.0}, r"objective\.weight is 0\.0"),
        ({"generator_heads": 4}, r"objective\.generator_heads is 4; it must divide objective\.generator_dim, 6"),
    ],
)
def test_bad_values_are_refused(changed: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        task(**changed)
