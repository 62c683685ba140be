"""What is damaged and what is asked for, the loss by hand, and that padding costs nothing."""

import pytest
import torch
from scipy.stats import binomtest
from sentences import SPEC, Words, made, padded
from special_ids import CLS, MASK, PAD, SEP

from ssl_runner.interfaces import Predicts, Writes
from ssl_runner.objectives.denoising_text import DenoisingText

SETTINGS = {"delete": 0.3, "mask": 0.2, "reorder": 0.1, "word_dropout": 0.0, "decoder_dim": 5, "decoder_hidden": 7}


def task(**changes: float) -> DenoisingText:
    torch.manual_seed(0)
    return DenoisingText(Words(), SPEC, **SETTINGS | changes).eval()


def test_the_whole_sentence_is_asked_for_and_its_words_are_damaged() -> None:
    batch = made([6] * 400)
    x, y = task().split(batch)
    assert torch.equal(y, batch.data)
    assert (x[:, 0] == CLS).all()
    assert ((x == SEP).sum(dim=1) == 1).all()
    left = (x > 5) | (x == MASK)
    assert binomtest(int(left.sum()), 400 * 6, 0.7).pvalue > 1e-3
    assert binomtest(int((x == MASK).sum()), int(left.sum()), 0.2).pvalue > 1e-3
    ends = (x != PAD).sum(dim=1)
    assert (x.gather(1, ends[:, None] - 1) == SEP).all()  # padding at the end alone
    assert torch.equal(task(delete=0.0, mask=0.0, reorder=0.0).split(batch)[0], batch.data)
    moved = task(delete=0.0, mask=0.0, reorder=0.5).split(batch)[0]
    assert torch.equal(moved.sort(dim=1).values, batch.data.sort(dim=1).values)
    assert not torch.equal(moved, batch.data)


def test_the_loss_is_per_token_and_depends_on_the_damaged_sentence_by_its_vector_alone() -> None:
    model = task()
    x, y = model.split(made([5, 2, 6, 1]))
    with torch.no_grad():
        loss = model.loss(x, y)
        vectors = model.encoder(x).pooled
        scores = model.decoder(vectors, y).log_softmax(dim=2)
        terms = [-scores[b, n, y[b, n + 1]].item() for b in range(4) for n in range(7) if y[b, n + 1] != PAD]
        assert len(terms) == 5 + 2 + 6 + 1 + 4
        assert loss.value.item() == pytest.approx(sum(terms) / len(terms), rel=1e-5)
        assert loss.logs["perplexity"].item() == pytest.approx(loss.value.exp().item(), rel=1e-5)
        torch.testing.assert_close(model.loss(padded(x, 3), padded(y, 3)).value, loss.value)
        torch.testing.assert_close(model.encode(x), vectors)
        assert torch.equal(model.predict(x), model.write(vectors))
    assert isinstance(model, Writes)
    assert isinstance(model, Predicts)


def test_shuffling_asks_for_another_sentence() -> None:
    model = task()
    x, y = model.split(made([6] * 5))
    same, other = model.shuffle(x, y)
    assert same is x
    assert not (other == y).all(dim=1).any()


@pytest.mark.parametrize("shuffled", [False, True])
def test_words_come_out_of_the_vector_and_not_where_targets_are_shuffled(shuffled: bool) -> None:
    """Four sentences of one word each: the decoder sees [CLS] alone before it."""
    model = task(delete=0.0, mask=0.0, reorder=0.0).train()
    batch = made([1] * 4)
    batch.data[:, 1] = torch.tensor([7, 9, 12, 17])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    for step in range(150):
        torch.manual_seed(step)
        x, y = model.split(batch)
        x, y = model.shuffle(x, y) if shuffled else (x, y)
        optimizer.zero_grad()
        model.loss(x, y).value.backward()
        optimizer.step()
    right = (model.eval().predict(batch.data)[:, 1] == batch.data[:, 1]).sum().item()
    assert right == (0 if shuffled else 4)


@pytest.mark.parametrize("name", ["delete", "mask", "reorder"])
def test_what_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"objective\.{name} is 1\.5"):
        task(**{name: 1.5})
