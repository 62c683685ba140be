import pytest
import torch

from ssl_runner.backbones.vivit import ViViT
from ssl_runner.interfaces import VideoSpec

SIZES = {"dim": 12, "depth": 2, "heads": 2, "frames": 2, "patch": 4, "mlp_ratio": 2.0}


def vivit(length: int = 6, height: int = 8, width: int = 12, channels: int = 3, **changes: object) -> ViViT:
    torch.manual_seed(0)
    spec = VideoSpec(frames=length, channels=channels, height=height, width=width)
    return ViViT(spec, **SIZES | changes)


def test_the_grid_is_of_tubes_time_first():
    encoder = vivit()
    assert encoder.tube == (2, 4, 4)
    assert encoder.grid == (3, 2, 3)
    features = encoder(torch.rand(2, 6, 3, 8, 12), layers=True)
    assert features.tokens.shape == (2, 18, 12)
    assert [layer.shape for layer in features.layers] == [(2, 12), (2, 12)]
    torch.testing.assert_close(features.layers[-1], features.pooled)


def test_the_map_is_its_tokens_in_space_and_time():
    encoder, x = vivit(), torch.rand(2, 6, 3, 8, 12)
    grid, tokens = encoder.map(x), encoder(x).tokens
    assert grid.shape == (2, 12, 3, 2, 3)
    for place in range(18):
        time, row, column = place // 6, place // 3 % 2, place % 3
        assert torch.equal(grid[:, :, time, row, column], tokens[:, place])


def test_what_is_not_kept_is_not_seen():
    encoder, x = vivit(), torch.rand(1, 6, 3, 8, 12)
    changed = x.clone()
    changed[:, 2:4, :, 4:8, 8:12] = 0  # place 11: time 1, row 1, column 2
    others = torch.tensor([[i for i in range(18) if i != 11]])
    assert torch.equal(encoder(x, others).tokens, encoder(changed, others).tokens)
    only = torch.tensor([[11, 0]])
    assert (encoder(x, only).tokens - encoder(changed, only).tokens).abs().max() > 1e-4


def test_all_kept_is_the_same_as_none_chosen_and_places_keep_their_order():
    encoder, x = vivit(), torch.rand(2, 6, 3, 8, 12)
    every = encoder(x)
    torch.testing.assert_close(encoder(x, torch.arange(18).expand(2, 18)).tokens, every.tokens)
    order = torch.stack([torch.randperm(18) for _ in range(2)])
    torch.testing.assert_close(
        encoder(x, order).tokens, every.tokens.gather(1, order[..., None].expand(-1, -1, 12)), atol=1e-5, rtol=1e-4
    )


def test_a_shorter_clip_takes_the_first_positions_in_time():
    encoder, x = vivit(), torch.rand(1, 4, 3, 8, 12)
    first = torch.arange(12)[None]
    longer = torch.cat([x, torch.rand(1, 2, 3, 8, 12)], dim=1)
    torch.testing.assert_close(encoder(x).tokens, encoder(longer, first).tokens)


def test_pooled_depends_on_the_order_of_frames():
    encoder, x = vivit(), torch.rand(1, 6, 3, 8, 12)
    assert encoder.ordered
    assert (encoder(x).pooled - encoder(x.flip(1)).pooled).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("frames", "said"), [(8, "a clip has 8 frames"), (3, "in steps of backbone.frames"), (1, "2$")]
)
def test_clips_of_other_lengths_are_refused(frames, said):
    with pytest.raises(ValueError, match=said):
        vivit()(torch.rand(1, frames, 3, 8, 12))


def test_frames_of_another_size_are_refused():
    with pytest.raises(ValueError, match="12 x 8 pixels; the encoder was built for 8 x 12"):
        vivit()(torch.rand(1, 6, 3, 12, 8))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("dim", 16),
        ("heads", 5),
        ("depth", 0),
        ("frames", 4),
        ("frames", 0),
        ("patch", 3),
        ("patch", 0),
        ("mlp_ratio", 0.0),
    ],
)
def test_impossible_sizes_are_refused_by_name(key, value):
    with pytest.raises(ValueError, match=rf"^backbone\.{key} is {value};"):
        vivit(**{key: value})


def test_the_patch_follows_the_resolution():
    assert vivit(2, 64, 64, patch=None).tube == (2, 8, 8)


def test_it_runs_in_half_precision():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert vivit()(torch.rand(1, 6, 3, 8, 12)).pooled.isfinite().all()
