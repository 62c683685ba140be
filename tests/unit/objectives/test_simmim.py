"""SimMIM: targets and masks, against loops over patches."""

import pytest
import torch

from ssl_runner.backbones.vit import ViT
from ssl_runner.interfaces import Batch, ImageSpec
from ssl_runner.nn.mask_patch import MaskPatch
from ssl_runner.objectives.simmim import SimMIM

SPEC = ImageSpec(channels=3, height=16, width=24)
BATCH = Batch(torch.rand(4, 3, 16, 24, generator=torch.Generator().manual_seed(0)), torch.zeros(4), torch.arange(4))


def simmim(**changed: object) -> SimMIM:
    torch.manual_seed(0)
    encoder = ViT(SPEC, dim=16, depth=1, heads=2, patch=4, mlp_ratio=2.0, pool="mean", drop_path=0.0)
    return SimMIM(encoder, SPEC, **{"ratio": 0.6, "unit": 2} | changed)


def test_the_loss_is_the_absolute_error_of_masked_pixels() -> None:
    objective = simmim()
    with torch.no_grad():
        objective.fill.values.uniform_()
    x, y = objective.split(BATCH)
    given, errors = BATCH.data.clone(), []
    for b in range(4):
        for n in x.masked[b].nonzero().flatten().tolist():
            rows, columns = (slice(4 * place, 4 * place + 4) for place in divmod(n, 6))
            given[b, :, rows, columns] = objective.fill.values.view(4, 4, 3).permute(2, 0, 1)
    guess = objective.decoder(objective.encoder(given).tokens)
    for b in range(4):
        for n in x.masked[b].nonzero().flatten().tolist():
            row, column = divmod(n, 6)
            patch = BATCH.data[b, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].permute(1, 2, 0).flatten()
            errors.append((guess[b, n] - patch).abs().mean())
    assert len(errors) == 4 * 4 * 4  # four of six squares of four patches, rounded up
    torch.testing.assert_close(objective.loss(x, y).value, torch.stack(errors).mean())


def test_squares_are_masked_whole() -> None:
    masked = simmim().split(BATCH)[0].masked.view(4, 2, 2, 3, 2)
    assert torch.equal(masked, masked[:, :, :1, :, :1].expand_as(masked))


def test_no_unit_is_two_patches_on_even_grids_else_one() -> None:
    assert simmim(unit=None).unit == 2
    odd = ImageSpec(channels=1, height=28, width=28)
    encoder = ViT(odd, dim=16, depth=1, heads=2, patch=4, mlp_ratio=2.0, pool="mean", drop_path=0.0)
    assert SimMIM(encoder, odd, ratio=0.6, unit=None).unit == 1


def test_only_masked_patches_are_replaced_and_the_patch_learns() -> None:
    fill = MaskPatch(2, 1)
    image = torch.rand(1, 1, 4, 4)
    masked = torch.tensor([[False, True, False, False]])
    out = fill(image, masked)
    assert torch.equal(out[..., :2, 2:], torch.full((1, 1, 2, 2), 0.5))
    assert torch.equal(out[..., 2:, :], image[..., 2:, :])
    out.sum().backward()
    assert torch.equal(fill.values.grad, torch.ones(4))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"ratio": 1.0}, r"objective\.ratio is 1\.0"),
        ({"ratio": 0.9}, r"objective\.ratio is 0\.9.*at least one of 6 squares"),
        ({"unit": 4}, r"objective\.unit is 4.*grid of 4 x 6 patches"),
    ],
)
def test_bad_values_are_refused(changed: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        simmim(**changed)
