import pytest
import torch
from torch import nn
from torch.nn import functional

from ssl_runner.nn.transformer import Attention, Block, DropPath, DyT, Transformer, norm_of


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


def test_what_is_not_seen_does_not_matter():
    torch.manual_seed(0)
    transformer = Transformer(8, 2, 2, mlp_ratio=2.0)
    x = torch.randn(2, 6, 8)
    seen = torch.arange(6) < torch.tensor([[4], [6]])
    masked = transformer(x, seen[:, None, None])
    torch.testing.assert_close(masked[:1, :4], transformer(x[:1, :4]))
    torch.testing.assert_close(masked[1], transformer(x)[1])
    layers = transformer.layers(x, seen[:, None, None])
    assert torch.equal(layers[-1], masked)


@pytest.mark.parametrize("norm", ["layer", "rms", "dyt"])
def test_norms_agree_with_their_formulas(norm):
    torch.manual_seed(0)
    x, layer = 3 * torch.randn(4, 5, 8) + 1, norm_of(norm, 8)
    with torch.no_grad():
        layer.weight.copy_(torch.rand(8) + 0.5)
    variance = x.var(dim=2, correction=0, keepdim=True)
    expected = {
        "layer": (x - x.mean(2, keepdim=True)) / (variance + 1e-6).sqrt(),
        "rms": x / (x.square().mean(2, keepdim=True) + 1e-6).sqrt(),
        "dyt": (torch.exp(x) - 1) / (torch.exp(x) + 1),  # tanh(x / 2)
    }[norm]
    torch.testing.assert_close(layer(x), layer.weight * expected)


def test_dyt_shifts_and_learns_how_wide_it_is():
    layer = DyT(3)
    with torch.no_grad():
        layer.alpha.fill_(2.0)
        layer.bias.copy_(torch.tensor([0.0, 1.0, -1.0]))
    x = torch.tensor([0.1, 0.2, 100.0])
    torch.testing.assert_close(layer(x), torch.tensor([0.19737532, 1.37994896, 0.0]))  # tanh(0.2), 1 + tanh(0.4), 1 - 1
    layer(x).sum().backward()
    # d tanh(alpha x) / d alpha = x (1 - tanh^2)
    torch.testing.assert_close(layer.alpha.grad, torch.tensor([0.1 * 0.96104298 + 0.2 * 0.85563879]))


def test_an_unknown_norm_is_refused():
    with pytest.raises(ValueError, match="the norm is 'batch'; it must be layer, rms or dyt"):
        norm_of("batch", 8)


def test_dropout_drops_what_a_block_adds_and_only_in_training():
    torch.manual_seed(0)
    block = Block(8, 2, 2.0, dropout=0.999999)
    x = torch.randn(2, 5, 8)
    assert torch.equal(block.train()(x), x)
    assert not torch.equal(block.eval()(x), x)
    torch.manual_seed(0)
    torch.testing.assert_close(block(x), _without_dropout(block, x))


def _without_dropout(block, x):
    x = x + block.attention(block.norm1(x))
    return x + block.mlp(block.norm2(x))


@pytest.mark.parametrize("causal", [False, True])
def test_attention_on_a_cpu_is_computed_in_float32(causal, monkeypatch):
    """In bfloat16 torch's kernel is slower there, backwards up to 14 times; what is given is still bfloat16."""
    computed = []
    kernel = functional.scaled_dot_product_attention

    def watched(q, *args, **kwargs):
        computed.append((q.dtype, torch.is_autocast_enabled("cpu")))
        return kernel(q, *args, **kwargs)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", watched)
    torch.manual_seed(0)
    attention, x = Attention(8, 2, causal=causal), torch.randn(3, 5, 8)
    exact = attention(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = attention(x)
    assert computed == [(torch.float32, False)] * 2
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, atol=0.02, rtol=0)
    rounded.float().square().sum().backward()
    assert all(p.grad.isfinite().all() for p in attention.parameters())


def test_a_dropped_path_adds_nothing_and_a_kept_one_more():
    torch.manual_seed(0)
    path, x = DropPath(0.25), torch.ones(4000, 2, 3)
    assert path.eval()(x) is x
    dropped = path.train()(x)
    assert set(dropped.flatten(1).sum(1).tolist()) == {0.0, 8.0}  # 6 / 0.75
    assert (dropped[:, 0, 0] == 0).float().mean() == pytest.approx(0.25, abs=0.03)
    transformer = Transformer(8, 3, 2, mlp_ratio=2.0, drop_path=0.4)
    shares = [[part.share for part in block.modules() if isinstance(part, DropPath)] for block in transformer.blocks]
    assert shares == [[], [0.2], [0.4]]
