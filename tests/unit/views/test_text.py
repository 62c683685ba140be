import pytest
import torch
from special_ids import CLS, PAD, SEP

from ssl_runner.interfaces import TextSpec
from ssl_runner.views.text import Deletion, Repeat, Segments

SPEC = TextSpec(length=10, vocabulary=50)
ROW = [CLS, 10, 11, SEP, 12, SEP, 13, 14, SEP, PAD]


def test_the_same_text_again() -> None:
    x = torch.tensor([ROW, ROW[:1] + [20] * 9])
    assert torch.equal(Repeat(views=3)(x), torch.stack([x, x, x]))


def test_words_are_left_out_of_each_view_by_itself() -> None:
    torch.manual_seed(0)
    x = torch.tensor([ROW]).expand(200, -1)
    views = Deletion(SPEC, views=2, share=0.5)(x)
    assert views.shape == (2, 200, 10)
    assert not torch.equal(views[0], views[1])
    assert ((views >= 6).sum(dim=2).float().mean() - 2.5).abs() < 0.3
    assert ((views == SEP).sum(dim=2) == 3).all()
    assert (views[:, :, 0] == CLS).all()
    assert torch.equal(Deletion(SPEC, views=1, share=0.0)(x)[0], x)


def test_segments_are_texts_of_their_own() -> None:
    x = torch.tensor([ROW, [CLS, 20, SEP, 21, 22, SEP, PAD, PAD, PAD, PAD], [CLS, 1, 2, 3, 4, 5, 6, 7, 8, 9]])
    assert Segments(SPEC, views=3)(x).tolist() == [
        [[CLS, 10, 11, SEP], [CLS, 20, SEP, PAD], [CLS, 1, 2, SEP]],
        [[CLS, 12, SEP, PAD], [CLS, 21, 22, SEP], [CLS, 4, 5, 6]],
        [[CLS, 13, 14, SEP], [CLS, PAD, PAD, PAD], [CLS, PAD, PAD, PAD]],
    ]
    assert Segments(SPEC, views=2)(x)[:, 0].tolist() == [[CLS, 10, 11, SEP, PAD], [CLS, 12, SEP, PAD, PAD]]
    assert Segments(SPEC, views=1)(x)[0, 1].tolist() == [CLS, 20, SEP] + [PAD] * 7


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match=r"objective\.views\.views is 0"):
        Repeat(views=0)
    with pytest.raises(ValueError, match=r"objective\.views\.views is 0"):
        Segments(SPEC, views=0)
    with pytest.raises(ValueError, match=r"objective\.views\.share is 1\.0"):
        Deletion(SPEC, views=2, share=1.0)
