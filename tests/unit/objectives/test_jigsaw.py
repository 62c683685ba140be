"""Jigsaw: the tiles of the image, in the order that the answer says."""

import pytest
import torch
from torch import Tensor

from ssl_runner.backbones.convnet import ConvNet
from ssl_runner.interfaces import Batch, ImageSpec
from ssl_runner.objectives.jigsaw import Jigsaw


def jigsaw(channels: int = 3, **settings: object) -> Jigsaw:
    torch.manual_seed(0)
    spec = ImageSpec(channels=channels, height=32, width=40)
    given = {"permutations": 72, "tile": 0.8, "statistics": "keep", "gray": 0.0, "head": 16} | settings
    return Jigsaw(ConvNet(spec, widths=[8], norm="batch"), spec, **given)


def batch(data: Tensor) -> Batch:
    return Batch(data, torch.zeros(len(data)), torch.arange(len(data)))


def where(count: int) -> Tensor:
    """Images in whose first two channels a pixel says its row and its column."""
    row, column = torch.meshgrid(torch.arange(32.0), torch.arange(40.0), indexing="ij")
    return torch.stack([row, column, torch.zeros_like(row)]).expand(count, -1, -1, -1)


def test_tiles_come_from_their_cells_in_the_order_of_the_answer() -> None:
    task = jigsaw()  # cells of 10 pixels from (1, 5) on, tiles of 8
    torch.manual_seed(1)
    x, y = task.split(batch(where(200)))
    assert x.shape == (200, 3, 24, 24)
    seen = set()
    for b in range(200):
        for place in range(9):
            i, j = divmod(place, 3)
            tile = x[b, :2, 8 * i : 8 * i + 8, 8 * j : 8 * j + 8]
            top, left = tile[:, 0, 0].int().tolist()
            assert torch.equal(tile, where(1)[0, :2, top : top + 8, left : left + 8])
            row, column = divmod(int(task.order[y[b], place]), 3)
            down, right = top - 1 - 10 * row, left - 5 - 10 * column
            seen |= {(down, right)}
    assert seen == {(down, right) for down in range(3) for right in range(3)}  # everywhere within its cell


def test_whole_cells_in_order_are_the_image() -> None:
    task = jigsaw(tile=1.0)
    data = torch.rand(300, 3, 32, 40)
    x, y = task.split(batch(data))
    assert (y == 0).any()
    assert torch.equal(x[y == 0], data[y == 0, :, 1:31, 5:35])


def test_the_head_reads_each_tile_by_itself_and_in_order() -> None:
    """The features of tiles encoded one by one, put side by side."""
    task = jigsaw().eval()
    x, _ = task.split(batch(torch.rand(5, 3, 32, 40)))
    tiles = [task.encoder(x[:, :, 8 * i : 8 * i + 8, 8 * j : 8 * j + 8]).pooled for i in range(3) for j in range(3)]
    torch.testing.assert_close(task._logits(x), task.head(torch.cat(tiles, dim=1)))


def test_equal_statistics() -> None:
    torch.manual_seed(0)
    data = torch.rand(6, 3, 32, 40) * torch.linspace(0.1, 1, 40)  # darker to the left
    data[0] = 0.25
    x, _ = jigsaw(tile=1.0, statistics="equal").split(batch(data))
    tiles = x.unflatten(3, (3, 10)).unflatten(2, (3, 10)).permute(0, 2, 4, 1, 3, 5).flatten(3)
    assert torch.equal(tiles[0], torch.full_like(tiles[0], 0.5))
    torch.testing.assert_close(tiles[1:].mean(3), torch.full((5, 3, 3), 0.5), atol=0.01, rtol=0)
    torch.testing.assert_close(tiles[1:].std(3, correction=0), torch.full((5, 3, 3), 0.25), atol=0.01, rtol=0)


def test_part_of_the_images_is_gray() -> None:
    torch.manual_seed(0)
    x, _ = jigsaw(gray=0.3).split(batch(torch.rand(1000, 3, 32, 40)))
    gray = ((x[:, 0] == x[:, 1]) & (x[:, 1] == x[:, 2])).all(dim=(1, 2))
    assert abs(gray.float().mean().item() - 0.3) < 5 * 0.0145  # sqrt(0.3 x 0.7 / 1000)
    jigsaw(channels=1, gray=1.0).split(batch(torch.rand(3, 1, 32, 40)))


def test_permutations_are_drawn_alike() -> None:
    torch.manual_seed(0)
    _, y = jigsaw(permutations=9).split(batch(torch.zeros(9000, 3, 32, 40)))
    assert (torch.bincount(y, minlength=9) - 1000).abs().max() < 5 * 30  # deviation: sqrt(9000 x 1/9 x 8/9) = 29.8


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"permutations": 1}, r"objective\.permutations: 1 permutations are asked for; there must be 2 to 1512"),
        ({"permutations": 2000}, r"objective\.permutations: 2000"),
        ({"tile": 1.5}, r"objective\.tile is 1\.5; it must lie in \(0, 1\]"),
        ({"gray": 2.0}, r"objective\.gray is 2\.0; it must lie in \[0, 1\]"),
        ({"head": 0}, r"objective\.head is 0; it must be at least 1"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        jigsaw(**settings)


def test_images_too_small_for_nine_tiles_are_refused() -> None:
    spec = ImageSpec(channels=1, height=2, width=9)
    with pytest.raises(ValueError, match="images are 2 x 9; a jigsaw needs 3 pixels a side"):
        Jigsaw(
            ConvNet(spec, widths=[8], norm="batch"),
            spec, permutations=9, tile=1.0, statistics="keep", gray=0.0, head=8,
        )  # fmt: skip


def test_it_is_drawn_in_pieces_and_says_their_order() -> None:
    task = jigsaw()
    x, _ = task.split(batch(torch.rand(2, 3, 32, 40)))
    drawn = task.apart(x)
    assert drawn.shape == (2, 3, 26, 26)  # a gap of a pixel between tiles of 8
    for i in range(3):
        for j in range(3):
            tile = drawn[:, :, 9 * i : 9 * i + 8, 9 * j : 9 * j + 8]
            assert torch.equal(tile, x[:, :, 8 * i : 8 * i + 8, 8 * j : 8 * j + 8])
    assert (drawn[:, :, 8] == 1).all()
    assert task.tell(torch.tensor([0])) == ["tiles 123 456 789"]
