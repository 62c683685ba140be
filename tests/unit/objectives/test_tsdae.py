"""What is deleted, the loss by hand, and what the decoder may depend on."""

import pytest
import torch
from scipy.stats import binomtest
from sentences import SPEC, Words, made, padded
from special_ids import CLS, PAD, SEP

from ssl_runner.interfaces import Predicts, Writes
from ssl_runner.objectives.tsdae import TSDAE

SETTINGS = {"delete": 0.6, "decoder_dim": 8, "decoder_depth": 2, "decoder_heads": 2}


def task(**changed: float) -> TSDAE:
    torch.manual_seed(0)
    return TSDAE(Words(), SPEC, **SETTINGS | changed).eval()


def test_words_are_deleted_and_the_whole_sentence_is_asked_for() -> None:
    batch = made([6] * 400)
    x, y = task().split(batch)
    assert torch.equal(y, batch.data)
    assert (x[:, 0] == CLS).all()
    assert ((x == SEP).sum(dim=1) == 1).all()
    assert binomtest(int((x > 5).sum()), 400 * 6, 0.4).pvalue > 1e-3


def test_the_loss_is_per_token_and_depends_on_the_damaged_sentence_by_its_vector_alone() -> None:
    model = task()
    x, y = model.split(made([5, 2, 6, 1]))
    with torch.no_grad():
        loss = model.loss(x, y)
        vectors = model.encoder(x).pooled
        scores = model.decoder(vectors, y, model.encoder.embedding).log_softmax(dim=2)
        terms = [-scores[b, n, y[b, n + 1]].item() for b in range(4) for n in range(7) if y[b, n + 1] != PAD]
        assert len(terms) == 5 + 2 + 6 + 1 + 4
        assert loss.value.item() == pytest.approx(sum(terms) / len(terms), rel=1e-5)
        torch.testing.assert_close(model.encode(x), vectors)
        assert torch.equal(model.predict(x), model.write(vectors))
        torch.testing.assert_close(model.loss(padded(x, 3), y).value, loss.value)
    assert isinstance(model, Writes)
    assert isinstance(model, Predicts)


def test_a_token_is_predicted_from_those_before_it_and_the_vector() -> None:
    model = task()
    _, y = model.split(made([6, 6]))
    vectors = torch.randn(2, model.encoder.dim)
    with torch.no_grad():
        scores = model.decoder(vectors, y, model.encoder.embedding)
        later = y.clone()
        later[:, 4:] = y[:, 4:].flip(1)
        torch.testing.assert_close(model.decoder(vectors, later, model.encoder.embedding)[:, :4], scores[:, :4])
        other = model.decoder(vectors.flip(0), y, model.encoder.embedding)
    assert not torch.allclose(other[:, 0], scores[:, 0])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"delete": 1.0}, r"objective\.delete is 1\.0"),
        ({"decoder_heads": 3}, r"objective\.decoder_heads is 3; it must divide objective\.decoder_dim, 8"),
    ],
)
def test_bad_values_are_refused(changed: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        task(**changed)
