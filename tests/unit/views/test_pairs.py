import pytest
import torch
from torch import Tensor

from ssl_runner.interfaces import Views
from ssl_runner.views.pairs import two_views


class Scaled(Views):
    """The image times 1, 2, ..."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x * (v + 1) for v in range(self.count)])


def test_the_first_and_the_second_view() -> None:
    image = torch.rand(2, 1, 3, 3)
    x, y = two_views(Scaled(2), image)
    assert torch.equal(x, image)
    assert torch.equal(y, image * 2)


@pytest.mark.parametrize("count", [1, 3])
def test_another_number_of_views_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=rf"objective\.views\.views is {count}; .* set it to 2"):
        two_views(Scaled(count), torch.rand(2, 1, 3, 3))


def test_one_image_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size is 1"):
        two_views(Scaled(2), torch.rand(1, 1, 3, 3))
