import pytest
import torch

from ssl_runner.assembly.layers import positions_of
from ssl_runner.backbones.vit import Pool, ViT, choose_patch
from ssl_runner.interfaces import ImageSpec
from ssl_runner.nn.patches import patchify
from ssl_runner.nn.positions import resized


def vit(height: int = 12, width: int = 16, patch: int | None = 4, channels: int = 3, pool: Pool = "mean") -> ViT:
    torch.manual_seed(0)
    spec = ImageSpec(channels=channels, height=height, width=width)
    return ViT(spec, dim=16, depth=3, heads=2, patch=patch, mlp_ratio=2.0, pool=pool, drop_path=0.0)


@pytest.mark.parametrize(
    ("height", "width", "patch"),
    [
        *((8, 8, 1), (28, 28, 4), (32, 32, 4), (48, 48, 6), (64, 64, 8), (96, 96, 12), (128, 128, 16), (224, 224, 16)),
        *((384, 384, 16), (32, 64, 4), (28, 32, 4), (1, 1, 1)),
    ],
)
def test_the_patch_follows_the_resolution(height, width, patch):
    assert choose_patch(height, width) == patch
    encoder = vit(height, width, patch=None)
    assert encoder.patch == patch
    assert encoder.grid == (height // patch, width // patch)


@pytest.mark.parametrize("side", [29, 37, 74])
def test_sides_that_no_patch_divides_well_are_refused(side):
    with pytest.raises(ValueError, match=rf"backbone\.patch is null and the images are of {side} x {side} pixels"):
        vit(side, side, patch=None)
    assert vit(side, side, patch=side).grid == (1, 1)


@pytest.mark.parametrize("patch", [5, 0, -4, 16, 24])
def test_a_patch_that_does_not_divide_the_image_is_refused_with_those_that_do(patch):
    with pytest.raises(ValueError, match=r"12 x 16 pixels: set backbone\.patch to one of 1, 2, 4, or null"):
        vit(12, 16, patch=patch)


@pytest.mark.parametrize(
    ("key", "value"),
    [("dim", 18), ("dim", 0), ("heads", 3), ("heads", 0), ("depth", 0), ("mlp_ratio", 0.0), ("drop_path", 1.0)],
)
def test_impossible_sizes_are_refused_by_name(key, value):
    settings = {"dim": 16, "depth": 3, "heads": 2, "patch": 4, "mlp_ratio": 2.0, "pool": "mean", "drop_path": 0.0}
    settings[key] = value
    with pytest.raises(ValueError, match=rf"^backbone\.{key} is {value};"):
        ViT(ImageSpec(channels=3, height=12, width=16), **settings)


def test_all_places_kept_in_order_are_the_same_as_none_chosen():
    encoder, x = vit(), torch.rand(2, 3, 12, 16)
    chosen = encoder(x, torch.arange(12).expand(2, 12), layers=True)
    every = encoder(x, layers=True)
    for a, b in zip((*chosen[:2], *chosen.layers), (*every[:2], *every.layers), strict=True):
        torch.testing.assert_close(a, b)


def test_tokens_come_in_the_order_in_which_places_are_kept():
    encoder, x = vit(), torch.rand(2, 3, 12, 16)
    keep = torch.stack([torch.randperm(12)[:5] for _ in range(2)])
    order = torch.tensor([3, 1, 4, 0, 2])
    a, b = encoder(x, keep), encoder(x, keep[:, order])
    torch.testing.assert_close(b.tokens, a.tokens[:, order], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(b.pooled, a.pooled, atol=1e-5, rtol=1e-4)


def test_what_is_not_kept_is_not_seen():
    encoder, x = vit(), torch.rand(1, 3, 12, 16)
    changed = x.clone()
    changed[:, :, 4:8, 8:12] = 0  # place 6: row 1, column 2
    keep = torch.tensor([[0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11]])
    assert torch.equal(encoder(x, keep).tokens, encoder(changed, keep).tokens)
    only = torch.tensor([[6, 0]])
    assert (encoder(x, only).tokens - encoder(changed, only).tokens).abs().max() > 1e-4


def test_positions_belong_to_places_not_to_the_order():
    encoder, x = vit(), torch.full((1, 3, 12, 16), 0.5)
    tokens = encoder(x).tokens[0]
    assert (torch.cdist(tokens, tokens) + torch.eye(12)).min() > 1e-3


def test_images_of_another_size_get_interpolated_positions():
    encoder, x = vit(), torch.rand(2, 3, 8, 8)
    other = vit(8, 8)
    other.positions = resized(encoder.positions, (3, 4), (2, 2))
    torch.testing.assert_close(encoder(x).tokens, other(x).tokens)
    with pytest.raises(ValueError, match="16 x 13 pixels; the encoder reads sides that are multiples of 4 pixels"):
        encoder(torch.rand(1, 3, 16, 13))


def test_a_class_token_stands_before_the_patches():
    plain, encoder, x = vit(), vit(pool="class"), torch.rand(2, 3, 12, 16)
    assert encoder.class_token is not None
    assert sum(p.numel() for p in encoder.parameters()) == sum(p.numel() for p in plain.parameters()) + 16
    read = torch.cat((encoder.class_token.expand(2, 1, 16), plain.embed(patchify(x, 4)) + plain.positions), dim=1)
    seen = plain.transformer(read)
    features = encoder(x, layers=True)
    torch.testing.assert_close(features.pooled, seen[:, 0])
    torch.testing.assert_close(features.tokens, seen[:, 1:])
    assert torch.equal(features.layers[-1], features.pooled)
    assert encoder(x, torch.tensor([[6, 0]] * 2)).tokens.shape == (2, 2, 16)
    assert positions_of(encoder, x, -2, 3).shape == (2, 12, 16)


def test_it_runs_in_half_precision():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = vit()(torch.rand(1, 3, 12, 16), torch.tensor([[6, 0]]))
    assert features.pooled.isfinite().all()


@pytest.mark.parametrize(("dim", "depth", "heads", "millions"), [(192, 12, 3, 5.4), (384, 12, 6, 21.4)])
def test_sizes_are_those_of_deit(dim, depth, heads, millions):
    with torch.device("meta"):
        encoder = ViT(
            ImageSpec(channels=3, height=224, width=224),
            dim=dim,
            depth=depth,
            heads=heads,
            patch=16,
            mlp_ratio=4.0,
            pool="mean",
            drop_path=0.0,
        )
    assert sum(p.numel() for p in encoder.parameters()) / 1e6 == pytest.approx(millions, abs=0.2)
