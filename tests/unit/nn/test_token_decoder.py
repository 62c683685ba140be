"""Likelihoods by hand, word dropout, and greedy writing by an explicit loop."""

import math

import pytest
import torch
from scipy.stats import binomtest
from sentences import SPEC, made, padded
from special_ids import CLS, MASK, PAD, SEP, UNK

from ssl_runner.losses.tokens import token_nll
from ssl_runner.nn.token_decoder import TokenDecoder


def decoder(**changes: float) -> TokenDecoder:
    torch.manual_seed(0)
    return TokenDecoder(SPEC, 3, **{"dim": 5, "hidden": 7, "word_dropout": 0.5} | changes).eval()


def test_the_likelihood_is_a_sum_over_words_and_padding_costs_nothing() -> None:
    model, tokens, z = decoder(), made([5, 2, 6]).data, torch.randn(3, 3)
    with torch.no_grad():
        scores = model(z, tokens)
        assert scores.shape == (3, 7, 20)
        got = token_nll(scores, tokens[:, 1:], PAD).sum(dim=1)
        for b in range(3):
            total, state = 0.0, torch.zeros(1, 1, 7)
            for n in range(7):
                if tokens[b, n + 1] == PAD:
                    break
                word = torch.cat((model.embedding.weight[tokens[b, n]], z[b]))[None, None]
                out, state = model.gru(word, state)
                scores = model.out(out[0, 0]) @ model.embedding.weight.T + model.bias
                total -= scores.log_softmax(0)[tokens[b, n + 1]].item()
            assert got[b].item() == pytest.approx(total, rel=1e-5)
        longer = padded(tokens, 4)
        torch.testing.assert_close(token_nll(model(z, longer), longer[:, 1:], PAD).sum(dim=1), got)


def test_words_are_dropped_in_training_alone_and_special_ids_never() -> None:
    model, seen = decoder(), []
    model.embedding.register_forward_hook(lambda module, given, out: seen.append(given[0]))
    tokens = made([6] * 300).data
    model(torch.zeros(300, 3), tokens)
    assert torch.equal(seen[-1], tokens[:, :-1])
    model.train()
    model(torch.zeros(300, 3), tokens)
    read = seen[-1]
    assert (read[:, 0] == CLS).all()
    assert ((read == tokens[:, :-1]) | (read == UNK)).all()
    assert binomtest(int((read == UNK).sum()), 300 * 6, 0.5).pvalue > 1e-3
    full = decoder(word_dropout=1.0).train()
    full.embedding.register_forward_hook(lambda module, given, out: seen.append(given[0]))
    full(torch.zeros(300, 3), tokens)
    assert (seen[-1][:, 1:] == UNK).all()


def test_writing_takes_the_most_probable_word_each_time() -> None:
    model = decoder()
    with torch.no_grad():
        model.out.weight.mul_(4)
        model.bias[MASK] = 100  # never written
        z = 2 * torch.randn(40, 3)
        texts = model.write(z, 8)
        assert texts.shape == (40, 8)
        assert (texts[:, 0] == CLS).all()
        for b in range(40):
            so_far, ended = [CLS], False
            for _ in range(7):
                scores = model(z[b : b + 1], torch.tensor([[*so_far, 0]]))[0, -1]
                scores[[PAD, UNK, CLS, MASK]] = -math.inf
                so_far.append(PAD if ended else int(scores.argmax()))
                ended = ended or so_far[-1] == SEP
            assert texts[b].tolist() == so_far
    assert len({tuple(row) for row in texts.tolist()}) > 5


def test_a_written_text_ends_with_its_separator() -> None:
    model = decoder()
    with torch.no_grad():
        model.bias[SEP] = 100
        assert model.write(torch.randn(2, 3), 5).tolist() == [[CLS, SEP, PAD, PAD, PAD]] * 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"word_dropout": 1.5}, r"objective\.word_dropout is 1\.5"),
        ({"dim": 0}, r"objective\.decoder_dim is 0"),
        ({"hidden": 0}, r"objective\.decoder_hidden 0"),
    ],
)
def test_what_is_refused(change: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        decoder(**change)
