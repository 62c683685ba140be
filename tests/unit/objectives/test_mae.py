"""Masked autoencoder: targets and masks, against loops over patches."""

import pytest
import torch

from ssl_runner.backbones.vit import ViT
from ssl_runner.interfaces import Batch, ImageSpec
from ssl_runner.nn.patches import patchify
from ssl_runner.objectives.mae import MAE, Hidden

SPEC = ImageSpec(channels=3, height=16, width=24)
BATCH = Batch(torch.rand(4, 3, 16, 24, generator=torch.Generator().manual_seed(0)), torch.zeros(4), torch.arange(4))


def mae(**settings: object) -> MAE:
    torch.manual_seed(0)
    encoder = ViT(SPEC, dim=16, depth=1, heads=2, patch=4, mlp_ratio=2.0, pool="mean", drop_path=0.0)
    given = {"ratio": 0.75, "mask": "random", "target": "pixels", "crop_scale": (1, 1), "flip": 0.0} | settings
    return MAE(encoder, SPEC, decoder_dim=16, decoder_depth=1, decoder_heads=2, **given)


@pytest.mark.parametrize("target", ["pixels", "normalized"])
def test_the_loss_is_the_error_of_hidden_patches(target: str) -> None:
    objective = mae(target=target)
    x, y = objective.split(BATCH)
    guess = objective.decoder(objective.encoder(x.image, x.keep).tokens, x.keep)
    errors = []
    for b in range(4):
        for n in range(24):
            if n not in x.keep[b].tolist():
                row, column = divmod(n, 6)
                patch = BATCH.data[b, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].permute(1, 2, 0).flatten()
                if target == "normalized":
                    patch = (patch - patch.mean()) / (patch.std(correction=1) ** 2 + 1e-6).sqrt()
                errors.append((guess[b, n] - patch).square().mean())
    assert len(errors) == 4 * 18
    torch.testing.assert_close(objective.loss(x, y).value, torch.stack(errors).mean())


def test_the_shade_and_contrast_of_a_patch_do_not_change_its_normalized_loss() -> None:
    objective = mae(target="normalized")
    x, y = objective.split(BATCH)
    other = objective.loss(x, Hidden(0.2 + 0.5 * y.image, y.hidden)).value
    torch.testing.assert_close(other, objective.loss(x, y).value, rtol=1e-3, atol=0)


def test_a_patch_of_one_value_has_no_deviation() -> None:
    spec = ImageSpec(channels=1, height=4, width=4)
    encoder = ViT(spec, dim=16, depth=1, heads=2, patch=1, mlp_ratio=2.0, pool="mean", drop_path=0.0)
    shown = {"crop_scale": (1, 1), "flip": 0.0}
    settings = shown | {"ratio": 0.75, "mask": "random", "decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2}
    MAE(encoder, spec, target="pixels", **settings)
    with pytest.raises(ValueError, match=r"objective\.target is normalized, and a patch of a single value"):
        MAE(encoder, spec, target="normalized", **settings)


def test_flat_patches_have_a_finite_loss() -> None:
    objective = mae(target="normalized")
    value = objective.loss(*objective.split(BATCH._replace(data=torch.zeros(4, 3, 16, 24)))).value
    value.backward()
    assert torch.isfinite(value)


@pytest.mark.parametrize("target", ["pixels", "normalized"])
def test_a_prediction_keeps_what_is_visible(target: str) -> None:
    objective = mae(target=target)
    x, y = objective.split(BATCH)
    predicted = objective.predict(x)
    assert torch.equal(predicted.hidden, y.hidden)
    ours, theirs = patchify(predicted.image, 4), patchify(BATCH.data, 4)
    assert torch.equal(ours[~y.hidden], theirs[~y.hidden])
    assert not torch.equal(ours[y.hidden], theirs[y.hidden])


def test_a_normalized_prediction_is_drawn_in_the_shades_of_the_visible_pixels() -> None:
    """A guess of 0 in every place is the mean of what is seen."""
    objective = mae(target="normalized")
    for parameter in objective.decoder.predict.parameters():
        torch.nn.init.zeros_(parameter)
    x, y = objective.split(BATCH)
    filled = patchify(objective.reconstruct(x), 4)
    for b in range(4):
        mean = patchify(BATCH.data, 4)[b][~y.hidden[b]].mean()
        torch.testing.assert_close(filled[b][y.hidden[b]], mean.expand(18, 48))


@pytest.mark.parametrize(("mask", "hidden"), [("random", 18), ("block", 18), ("grid", 18)])
def test_every_mask_hides_its_part(mask: str, hidden: int) -> None:
    x, y = mae(mask=mask).split(BATCH)
    assert y.hidden.sum(dim=1).tolist() == [hidden] * 4
    gray = (patchify(x.image, 4) == 0.5).all(dim=2)
    assert torch.equal(gray, y.hidden)


@pytest.mark.parametrize("ratio", [0.0, 1.0, 1.5, 0.99])
def test_a_ratio_must_hide_some_and_leave_some(ratio: float) -> None:
    with pytest.raises(ValueError, match=r"objective\.ratio is .*; it must lie in \(0, 1\)"):
        mae(ratio=ratio)


def test_a_grid_has_one_ratio() -> None:
    with pytest.raises(ValueError, match=r"objective\.ratio is 0\.6; objective\.mask=grid keeps one of every four"):
        mae(mask="grid", ratio=0.6)


def test_images_are_cropped_and_mirrored_in_training_alone() -> None:
    objective = mae(crop_scale=(0.2, 0.5), flip=0.5)
    assert not torch.equal(objective.split(BATCH)[1].image, BATCH.data)
    assert torch.equal(objective.eval().split(BATCH)[1].image, BATCH.data)
    assert torch.equal(mae().split(BATCH)[1].image, BATCH.data)
