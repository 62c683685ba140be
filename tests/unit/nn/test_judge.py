import pytest
import torch

from ssl_runner.nn.judge import Judge


@pytest.mark.parametrize("size", [(28, 28), (32, 40), (8, 9)])
def test_one_score_an_image(size):
    assert Judge(3, widths=[4, 8, 16])(torch.rand(5, 3, *size)).shape == (5,)


def test_images_are_judged_each_by_itself():
    torch.manual_seed(0)
    judge, x = Judge(1, widths=[8, 16]).train(), torch.rand(4, 1, 16, 16)
    torch.testing.assert_close(judge(x), torch.cat([judge(x[i : i + 1]) for i in range(4)]))


def test_a_judge_can_learn_to_tell():
    torch.manual_seed(0)
    judge = Judge(1, widths=[8, 16])
    optimizer = torch.optim.Adam(judge.parameters(), 0.01)
    smooth, noise = torch.full((16, 1, 8, 8), 0.5) + 0.1 * torch.rand(16, 1, 1, 1), torch.rand(16, 1, 8, 8)
    for _ in range(30):
        optimizer.zero_grad()
        (judge(noise) - judge(smooth)).mean().backward()
        optimizer.step()
    assert judge(smooth).min() > judge(noise).max()


@pytest.mark.parametrize("widths", [[], [8, 0]])
def test_impossible_widths_are_refused(widths):
    with pytest.raises(ValueError, match="at least one is needed"):
        Judge(1, widths=widths)
