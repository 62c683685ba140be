"""Two views by two recipes."""

import pytest
import torch

from ssl_runner.assembly import construct
from ssl_runner.config.compose import compose
from ssl_runner.interfaces import Views
from ssl_runner.views.image import ImageViews
from ssl_runner.views.pair import NOTHING
from ssl_runner.views.per_view import PerView


def test_each_view_has_its_own_recipe() -> None:
    first, second = ImageViews(**NOTHING), ImageViews(**NOTHING | {"solarize": 1.0, "solarize_threshold": 0.0})
    x = torch.rand(3, 1, 4, 4)
    views = PerView(first=first, second=second)(x)
    torch.testing.assert_close(views, torch.stack((x, 1 - x)))


def test_recipes_of_two_sizes_are_refused() -> None:
    views = PerView(first=ImageViews(**NOTHING), second=ImageViews(**NOTHING | {"size": 3}))
    with pytest.raises(ValueError, match=r"objective\.views\.first gives views of \(4, 4\)"):
        views(torch.rand(3, 1, 4, 4))


@pytest.mark.parametrize("name", ["byol", "dino"])
def test_the_papers_recipes(name: str) -> None:
    node = compose(["objective=byol", f"objective/views={name}", "dataset=fake_images"])["objective"]["views"]
    first, second = node["first"], node["second"]
    assert (first["blur"], second["blur"], first["solarize"], second["solarize"]) == (1.0, 0.1, 0.0, 0.2)
    views: Views = construct.construct(node)
    assert views(torch.rand(2, 3, 32, 32)).shape == (2, 2, 3, 32, 32)
