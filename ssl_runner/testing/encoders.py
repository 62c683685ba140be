"""What `interfaces` promises of every encoder of images, vectors or clips.

A module that imports these tests defines the fixtures `encoder`, in eval mode, and `x`: three examples that it reads,
in [0, 1].
"""

import copy

import torch
from torch import Tensor

from ssl_runner.interfaces import ClipEncoder, Encoder, MapEncoder, PatchEncoder, TubeEncoder


def test_shapes_are_as_promised(encoder: Encoder, x: Tensor) -> None:
    with torch.inference_mode():
        plain, full = encoder(x), encoder(x, layers=True)
    assert plain.layers == ()
    assert torch.equal(plain.tokens, full.tokens)
    assert torch.equal(plain.pooled, full.pooled)
    assert plain.pooled.shape == (3, encoder.dim)
    assert plain.tokens.shape == (3, plain.tokens.shape[1], encoder.dim)
    assert plain.pooled.isfinite().all()
    torch.testing.assert_close(plain.tokens.mean(1), plain.pooled, atol=1e-5, rtol=1e-4)
    assert len(full.layers) >= 2
    assert all(layer.ndim == 2 and len(layer) == 3 for layer in full.layers)
    torch.testing.assert_close(full.layers[-1], full.pooled)


def test_features_tell_images_apart(encoder: Encoder, x: Tensor) -> None:
    with torch.inference_mode():
        pooled = encoder(x).pooled
    assert (pooled - pooled.mean(0)).abs().max() > 1e-3


def test_rows_are_independent_and_evaluation_is_deterministic(encoder: Encoder, x: Tensor) -> None:
    with torch.inference_mode():
        together = encoder(x)
        alone = [encoder(x[i : i + 1]) for i in range(3)]
        again = encoder(x)
    assert torch.equal(again.pooled, together.pooled)
    assert torch.equal(again.tokens, together.tokens)
    for i in range(3):
        torch.testing.assert_close(alone[i].pooled[0], together.pooled[i], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(alone[i].tokens[0], together.tokens[i], atol=1e-4, rtol=1e-4)


def test_gradients_reach_every_weight_and_the_image(encoder: Encoder, x: Tensor) -> None:
    x.requires_grad_()
    features = encoder.train()(x)
    weight = torch.randn(features.pooled.shape, generator=torch.Generator().manual_seed(2))
    (features.pooled * weight).sum().backward()
    idle = [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []
    assert x.grad is not None
    assert x.grad.any()


def test_a_deep_copy_is_equal_and_separate(encoder: Encoder, x: Tensor) -> None:
    twin = copy.deepcopy(encoder)
    with torch.no_grad():
        before = encoder(x).pooled
        assert torch.equal(twin(x).pooled, before)
        for p in twin.parameters():
            p.add_(1)
        assert torch.equal(encoder(x).pooled, before)


def keeps_map(encoder: MapEncoder, x: Tensor) -> None:
    with torch.inference_mode():
        grid = encoder.map(x)
        assert torch.equal(grid.flatten(2).transpose(1, 2), encoder(x).tokens)
        other = encoder.map(x[..., : x.shape[-2] // 2, : x.shape[-1] // 2 + 3])
    assert other.shape[:2] == (3, encoder.dim)  # images of any height and width


def keeps_map_of_clips(encoder: ClipEncoder, x: Tensor) -> None:
    with torch.inference_mode():
        grid = encoder.map(x)
        assert torch.equal(grid.flatten(2).transpose(1, 2), encoder(x).tokens)
        shorter = encoder.map(x[:, :2])
    assert grid.shape[:2] == (3, encoder.dim)
    assert shorter.shape[3:] == grid.shape[3:]
    assert shorter.shape[2] <= grid.shape[2]


def says_order(encoder: ClipEncoder, x: Tensor) -> None:
    with torch.inference_mode():
        difference = (encoder(x).pooled - encoder(x[:, [2, 0, 3, 1]]).pooled).abs().max()
    assert encoder.ordered == (difference > 1e-5)


def encodes_chosen_tubes(encoder: TubeEncoder, x: Tensor) -> None:
    grid, tube = encoder.grid, encoder.tube
    assert tuple(count * size for count, size in zip(grid, tube, strict=True)) == (x.shape[1], *x.shape[3:])
    n = grid[0] * grid[1] * grid[2]
    keep = torch.stack([torch.randperm(n, generator=torch.Generator().manual_seed(i))[:5] for i in range(3)])
    with torch.inference_mode():
        every, few = encoder(x), encoder(x, keep)
        assert every.tokens.shape == (3, n, encoder.dim)
        assert few.tokens.shape == (3, 5, encoder.dim)
        full = encoder(x, torch.arange(n).expand(3, n))
        torch.testing.assert_close(full.tokens, every.tokens, atol=1e-5, rtol=1e-4)
        cells = torch.ones(3, n).scatter(1, keep, 0).bool().view(3, *grid)
        for axis, size in enumerate(tube):
            cells = cells.repeat_interleave(size, axis + 1)
        hidden = cells.unsqueeze(2)
        assert torch.equal(encoder(x.masked_fill(hidden, 0.7), keep).tokens, few.tokens)
        assert (encoder(x.masked_fill(~hidden, 0.7), keep).tokens - few.tokens).abs().max() > 1e-4


def encodes_chosen_patches(encoder: PatchEncoder, x: Tensor) -> None:
    down, across = encoder.grid
    assert (down * encoder.patch, across * encoder.patch) == x.shape[2:]
    n = down * across
    keep = torch.stack([torch.randperm(n, generator=torch.Generator().manual_seed(i))[:5] for i in range(3)])
    with torch.inference_mode():
        every = encoder(x)
        assert every.tokens.shape == (3, n, encoder.dim)
        full = encoder(x, torch.arange(n).expand(3, n))
        torch.testing.assert_close(full.tokens, every.tokens, atol=1e-5, rtol=1e-4)
        few = encoder(x, keep)
        hidden = torch.ones(3, n).scatter(1, keep, 0).bool()
        cells = hidden.view(3, 1, down, across).repeat_interleave(encoder.patch, 2).repeat_interleave(encoder.patch, 3)
        assert few.tokens.shape == (3, 5, encoder.dim)
        assert torch.equal(encoder(x.masked_fill(cells, 0.7), keep).tokens, few.tokens)
        assert (encoder(x.masked_fill(~cells, 0.7), keep).tokens - few.tokens).abs().max() > 1e-4


def test_the_promise_of_its_kind(encoder: Encoder, x: Tensor) -> None:
    if isinstance(encoder, MapEncoder):
        keeps_map(encoder, x)
    if isinstance(encoder, PatchEncoder):
        encodes_chosen_patches(encoder, x)
    if isinstance(encoder, ClipEncoder):
        keeps_map_of_clips(encoder, x)
        says_order(encoder, x)
    if isinstance(encoder, TubeEncoder):
        encodes_chosen_tubes(encoder, x)
