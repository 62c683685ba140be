"""What `interfaces` promises of every encoder of text.

A module that imports these tests defines the fixtures `encoder`, made for `SPEC`, in eval mode, and `x`, which is
`texts()`.
"""

import copy

import pytest
import torch

from ssl_runner.interfaces import BiCausalEncoder, CausalEncoder, TextEncoder, TextSpec, TokenEncoder, WordEncoder

SPEC = TextSpec(length=12, vocabulary=50, size=8)


def texts() -> torch.Tensor:
    """(3, 12): texts of 12, 7 and 1 tokens, the first with a mask, the second ending in SEP."""
    special = SPEC.special
    ids = torch.randint(6, 50, (3, 12), generator=torch.Generator().manual_seed(1))
    ids[:, 0], ids[0, 5], ids[1, 6] = special.cls, special.mask, special.sep
    ids[1, 7:] = ids[2, 1:] = special.pad
    return ids


def of_kind(encoder: TextEncoder, *kinds: type[object]) -> None:
    if not isinstance(encoder, kinds):
        pytest.skip("another kind")


def test_shapes_are_as_promised(encoder: TextEncoder, x: torch.Tensor) -> None:
    with torch.inference_mode():
        plain, full, states = encoder(x), encoder(x, layers=True), encoder.states(x)
    assert plain.layers == ()
    assert plain.tokens.shape == (3, 12, encoder.dim)
    assert plain.pooled.shape == (3, encoder.dim)
    assert plain.pooled.isfinite().all()
    for row, length in enumerate((12, 7, 1)):  # the mean over what is no padding
        torch.testing.assert_close(plain.pooled[row], plain.tokens[row, :length].mean(0), atol=1e-5, rtol=1e-4)
    assert all(layer.ndim == 2 and len(layer) == 3 for layer in full.layers)
    torch.testing.assert_close(full.layers[-1], full.pooled)
    assert all(state.shape[:2] == (3, 12) for state in states)
    kept = x != encoder.special.pad
    torch.testing.assert_close(states[-1][kept], plain.tokens[kept], atol=1e-5, rtol=1e-4)


def test_the_embedding_has_a_row_a_token_and_none_for_padding(encoder: TextEncoder) -> None:
    assert encoder.embedding.num_embeddings == SPEC.vocabulary
    assert not encoder.embedding.weight[encoder.special.pad].any()


def test_padding_does_not_matter(encoder: TextEncoder, x: torch.Tensor) -> None:
    with torch.inference_mode():
        together = encoder(x)
        for row, length in enumerate((12, 7, 1)):
            alone = encoder(x[row : row + 1, :length])
            torch.testing.assert_close(alone.pooled[0], together.pooled[row], atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(alone.tokens[0], together.tokens[row, :length], atol=1e-5, rtol=1e-4)


def test_evaluation_is_deterministic(encoder: TextEncoder, x: torch.Tensor) -> None:
    with torch.inference_mode():
        assert torch.equal(encoder(x).tokens, encoder(x).tokens)


def test_gradients_reach_every_weight(encoder: TextEncoder, x: torch.Tensor) -> None:
    of_kind(encoder, TokenEncoder, CausalEncoder, BiCausalEncoder, WordEncoder)
    x[0, 8] = encoder.special.sep  # a second segment follows
    pooled = encoder.train()(x).pooled
    (pooled * torch.randn(pooled.shape, generator=torch.Generator().manual_seed(2))).sum().backward()
    idle = [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


def seen(encoder: TextEncoder, x: torch.Tensor, place: int) -> torch.Tensor:
    """(T,) bool: at which places of a text without padding the vector changes when the token at `place` does."""
    other = x[:1].clone()
    other[0, place] = 6 + (other[0, place] - 5) % 40
    with torch.inference_mode():
        changed = encoder(x[:1]).tokens - encoder(other).tokens
    return changed[0].abs()


def test_who_sees_whom(encoder: TextEncoder, x: torch.Tensor) -> None:
    of_kind(encoder, TokenEncoder, CausalEncoder, BiCausalEncoder, WordEncoder)
    place, half = 4, encoder.dim // 2
    found = seen(encoder, x, place)
    before, after = found[:place], found[place + 1 :]
    assert found[place].any()
    match encoder:
        case WordEncoder():
            assert not before.any()
            assert not after.any()
        case TokenEncoder():
            assert before.any(1).all()
            assert after.any(1).all()
        case CausalEncoder():
            assert not before.any()
            assert after[0].any()
        case BiCausalEncoder():
            assert not before[:, :half].any()
            assert not after[:, half:].any()
            assert before[:, half:].any(1).all()
            assert after[:, :half].any(1).all()


def test_state_round_trips_strictly(encoder: TextEncoder, x: torch.Tensor) -> None:
    other = copy.deepcopy(encoder)
    with torch.no_grad():
        for p in other.parameters():
            p.add_(1)
    other.load_state_dict(encoder.state_dict(), strict=True)
    with torch.inference_mode():
        assert torch.equal(other(x).pooled, encoder(x).pooled)
