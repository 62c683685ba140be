import numpy as np
import pytest
import torch
from findings import value
from vocabularies import subject_of

from ssl_runner.evaluation.text.word_map import WordMap


def test_frequent_words_are_laid_out_with_their_groups():
    generator = torch.Generator().manual_seed(0)
    words = [f"{kind}{'abcdefghijklmnopqrstuvwxyz'[i]}" for i in range(20) for kind in ("x", "y")]
    center = torch.randn(2, 6, generator=generator)
    vectors = torch.stack([center[i % 2] + 0.1 * torch.randn(6, generator=generator) for i in range(40)])
    vectors = torch.cat((torch.randn(3, 6, generator=generator), vectors))
    found = WordMap(words=30, skip=2)(subject_of(["the", "12", "of", *words], vectors))
    figure = found.figures["words"]
    assert list(figure.texts) == words[:30]  # "12" is no word: of the two that are left out, neither is that
    assert figure.points.shape == (30, 2)
    groups = [figure.points[place::2].mean(axis=0) for place in (0, 1)]
    for place, point in enumerate(figure.points):
        assert np.argmin([np.linalg.norm(point - group) for group in groups]) == place % 2
    assert 0.7 < value(found, "trustworthiness") <= 1


def test_refusals():
    with pytest.raises(ValueError, match=r"evaluation\.word_map\.words is 3"):
        WordMap(words=3, skip=0)
    with pytest.raises(ValueError, match=r"evaluation\.word_map\.skip is -1"):
        WordMap(words=4, skip=-1)
    with pytest.raises(ValueError, match=r"evaluation\.word_map\.skip is 3, which leaves 3 words"):
        WordMap(words=9, skip=3)(subject_of(list("abcdef"), torch.eye(6)))
