"""The table of word vectors: rows, their mean, padding, sparse gradients."""

import pytest
import torch
from special_ids import PAD

from ssl_runner.assembly import construct
from ssl_runner.backbones.word_vectors import WordVectors
from ssl_runner.config.compose import compose
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.schema import typed
from ssl_runner.interfaces import Batch, TextSpec

SPEC = TextSpec(length=5, vocabulary=20)


def test_tokens_are_rows_and_pooled_is_their_mean_without_padding() -> None:
    encoder = WordVectors(SPEC, width=4, gradient="dense")
    x = torch.tensor([[7, 9, 7, PAD, PAD], [8, 8, 8, 8, 10]])
    features = encoder(x, layers=True)
    table = encoder.embedding.weight
    assert torch.equal(features.tokens[0, :3], table[[7, 9, 7]])
    torch.testing.assert_close(features.pooled[0], (2 * table[7] + table[9]) / 3)
    torch.testing.assert_close(features.pooled[1], (4 * table[8] + table[10]) / 5)
    assert torch.equal(features.layers[0], features.pooled)
    assert [state.shape for state in encoder.states(x)] == [(2, 5, 4)]
    assert torch.equal(encoder.states(x)[-1], features.tokens)
    assert encoder(torch.zeros(1, 5, dtype=torch.long)).pooled.abs().sum() == 0


def test_starts_as_word2vec_and_padding_stays_zero() -> None:
    encoder = WordVectors(TextSpec(length=5, vocabulary=5000), width=10, gradient="dense")
    table = encoder.embedding.weight.detach()
    assert table.abs().max() <= 0.05
    assert table[1:].std().item() == pytest.approx(0.1 / 12**0.5, rel=0.02)
    encoder(torch.tensor([[PAD, 7]])).tokens.sum().backward()
    assert encoder.embedding.weight.grad[PAD].abs().sum() == 0
    assert table[PAD].abs().sum() == 0


def test_sparse_gradients_are_the_dense_ones() -> None:
    x = torch.tensor([[7, 9, 7, PAD, PAD]])
    gradients = []
    for gradient in ("dense", "sparse"):
        torch.manual_seed(0)
        encoder = WordVectors(SPEC, width=4, gradient=gradient)
        encoder(x).tokens.square().sum().backward()
        gradients.append(encoder.embedding.weight.grad)
    assert gradients[1].is_sparse
    torch.testing.assert_close(gradients[1].to_dense(), gradients[0])


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"backbone\.width is 0"):
        WordVectors(SPEC, width=0, gradient="dense")


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize(
    ("words", "fits"),
    [
        (["optimizer=adamw"], False),
        (["optimizer=adagrad"], False),
        (["optimizer=adagrad", "optimizer.fused=false"], True),
        (["optimizer=sgd", "optimizer.fused=false"], False),
        (["optimizer=sgd", "optimizer.fused=false", "optimizer.weight_decay=0.0"], True),
    ],
)
def test_sparse_gradients_need_an_optimizer_that_takes_them(words: list[str], fits: bool) -> None:
    objective = ["dataset=wiki_sample", "objective=skip_gram", "backbone=word_vectors", "backbone.gradient=sparse"]
    config = typed(compose([*objective, "evaluation=[]", "logger=none", *words]))
    spec = TextSpec(length=8, vocabulary=20)
    model = construct.objective(config, spec)
    if not fits:
        with pytest.raises(ConfigError, match=r"backbone\.gradient is sparse, which optimizer=.* does not support"):
            construct.optimizer(config, model)
        return
    optimizer = construct.optimizer(config, model)
    data = spec.to_input(spec.fake(4))
    model.loss(*model.split(Batch(data, data[:, 0], torch.arange(4)))).value.backward()
    optimizer.step()
    assert model.output.table.weight.abs().sum() > 0
