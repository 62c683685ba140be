import pytest
import torch
from torch import nn

from ssl_runner.nn.transformer import Attention, Block, Transformer


@pytest.mark.parametrize("causal", [False, True])
def test_attention_agrees_with_a_loop_over_heads_and_tokens(causal):
    torch.manual_seed(0)
    attention = Attention(6, 2, causal=causal).double()
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    q, k, v = attention.qkv(x).chunk(3, dim=-1)
    mixed = torch.empty_like(q)
    for b in range(2):
        for h in (slice(0, 3), slice(3, 6)):
            for n in range(5):
                seen = n + 1 if causal else 5
                weight = (k[b, :seen, h] @ q[b, n, h] / 3**0.5).softmax(0)
                mixed[b, n, h] = weight @ v[b, :seen, h]
    torch.testing.assert_close(attention(x), attention.out(mixed))


def test_a_block_agrees_with_torchs_own_layer():
    torch.manual_seed(0)
    ours = Block(8, 2, 3.0).eval()
    theirs = nn.TransformerEncoderLayer(
        8, 2, 24, dropout=0.0, activation="gelu", batch_first=True, norm_first=True, layer_norm_eps=1e-6
    ).eval()
    with torch.no_grad():
        theirs.self_attn.in_proj_weight.copy_(ours.attention.qkv.weight)
        theirs.self_attn.in_proj_bias.copy_(ours.attention.qkv.bias)
        for mine, other in (
            (ours.attention.out, theirs.self_attn.out_proj),
            (ours.mlp[0], theirs.linear1),
            (ours.mlp[2], theirs.linear2),
        ):
            other.load_state_dict(mine.state_dict())
    x = torch.randn(3, 5, 8)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-4)


def test_a_causal_transformer_does_not_see_later_tokens():
    torch.manual_seed(0)
    x = torch.randn(1, 6, 8)
    changed = x.clone()
    changed[:, 3:] = torch.randn(3, 8)  # not a shift: LayerNorm would take it out again
    transformer = Transformer(8, 2, 2, mlp_ratio=2.0, causal=True)
    torch.testing.assert_close(transformer(x)[:, :3], transformer(changed)[:, :3])
    transformer = Transformer(8, 2, 2, mlp_ratio=2.0)
    assert (transformer(x)[:, :3] - transformer(changed)[:, :3]).abs().max() > 1e-4


def test_without_positions_it_is_equivariant_to_the_order_of_tokens():
    transformer = Transformer(8, 2, 2, mlp_ratio=2.0)
    x, order = torch.randn(2, 6, 8), torch.randperm(6)
    torch.testing.assert_close(transformer(x[:, order]), transformer(x)[:, order], atol=1e-5, rtol=1e-4)


def test_the_last_of_the_layers_is_the_output_and_the_others_lead_to_it():
    transformer = Transformer(8, 3, 2, mlp_ratio=2.0)
    x = torch.randn(2, 6, 8)
    layers = transformer.layers(x)
    assert len(layers) == 3
    assert torch.equal(layers[0], transformer.blocks[0](x))
    assert torch.equal(layers[1], transformer.blocks[1](layers[0]))
    assert torch.equal(layers[2], transformer(x))


def test_weights_start_as_in_mae():
    transformer = Transformer(64, 1, 4, mlp_ratio=4.0)
    for module in transformer.modules():
        if isinstance(module, nn.Linear):
            bound = (6 / sum(module.weight.shape)) ** 0.5  # Xavier, uniform
            assert 0.97 * bound < module.weight.abs().max().item() <= bound
            assert not module.bias.any()


@pytest.mark.parametrize(
    ("dim", "depth", "heads", "ratio", "message"),
    [
        (8, 0, 2, 2.0, "depth is 0"),
        (8, 1, 3, 2.0, "heads must divide the width"),
        (8, 1, 0, 2.0, "heads must divide the width"),
        (8, 1, 2, 0.0, "at least one hidden unit"),
    ],
)
def test_impossible_sizes_are_refused(dim, depth, heads, ratio, message):
    with pytest.raises(ValueError, match=message):
        Transformer(dim, depth, heads, mlp_ratio=ratio)
