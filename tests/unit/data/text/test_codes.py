"""Codes of images as texts, and images from codes that a language model writes."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from findings import metric, value
from torch import Tensor, nn

from ssl_runner.backbones.convnet import ConvNet
from ssl_runner.data.any.tensors import Splits
from ssl_runner.data.text.codes import FILE, FIRST, RunCodes, decoder_in, read, write
from ssl_runner.evaluation.text.code_samples import CodeSamples
from ssl_runner.interfaces import Examples, ImageSpec, Quantizes, SplitName
from ssl_runner.nn.code_decoder import CodeDecoder
from ssl_runner.objectives.vq import VQ

SPEC = ImageSpec(channels=1, height=8, width=8, classes=2, class_names=("even", "odd"))
CODES = 5


def vq() -> VQ:
    torch.manual_seed(0)
    encoder = ConvNet(SPEC, widths=[4, 6], norm="batch")
    return VQ(
        encoder, SPEC, codes=CODES, code_width=3, commitment=0.25, decay=0.9, least=0.1, deviation=0.1,
        decoder_widths=[6, 4],
    ).eval()  # fmt: skip


def codes(sizes: Mapping[SplitName, int]) -> dict[SplitName, Examples]:
    """Every grid is a code and the next one, by turns: what a cell holds tells the rest."""
    found: dict[SplitName, Examples] = {}
    for split, n in sizes.items():
        first = torch.arange(n) % (CODES - 1)
        grid = torch.stack([first, first + 1, first, first + 1], dim=1).view(n, 2, 2)
        found[split] = Examples(grid.int(), first % 2)
    return found


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "export" / "codes"
    folder.mkdir(parents=True)
    write(folder / FILE, codes({"train": 40, "val": 8, "test": 12}), SPEC.class_names, CODES, vq().program())
    return tmp_path


def test_the_decoder_is_that_of_the_objective(run: Path) -> None:
    model = vq()
    assert isinstance(model, Quantizes)
    tokens = model.tokens(torch.rand(3, 1, 8, 8))
    decoder = CodeDecoder(decoder_in(read(run / "export" / "codes" / FILE)))
    torch.testing.assert_close(decoder(tokens), model.pictures(tokens))
    with pytest.raises(ValueError, match="no decoder of codes"):
        CodeDecoder({"codes": torch.zeros(2, 3)})


def test_codes_are_texts(run: Path) -> None:
    source = RunCodes(run=str(run))
    spec = source.spec
    assert (spec.length, spec.vocabulary, spec.size, spec.classes) == (6, FIRST + CODES, 40, 2)
    first = source.load()["train"].data[0].tolist()
    assert first == [spec.special.cls, FIRST, FIRST + 1, FIRST, FIRST + 1, spec.special.sep]
    assert spec.counts[FIRST:] == (20, 40, 40, 40, 20)
    assert source.contents()["run"][FILE].is_file()


def test_what_was_not_written_or_is_damaged_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ssl-export run=.* format=codes"):
        RunCodes(run=str(tmp_path / "elsewhere")).check()
    file = run / "export" / "codes" / FILE
    np.savez(file, **(dict(np.load(file).items()) | {"x_val": np.full((8, 2, 2), CODES)}))
    with pytest.raises(ValueError, match="x_val and y_val must be"):
        RunCodes(run=str(run)).check()


class Knows(nn.Module):
    """A language model that knows how the grids of `codes` are made."""

    def next_logits(self, tokens: Tensor) -> Tensor:
        return self._scores(tokens)[:, -1]

    def log_likelihood(self, tokens: Tensor) -> Tensor:
        scores = self._scores(tokens[:, :-1]).log_softmax(dim=2)
        return scores.gather(2, tokens[:, 1:, None]).squeeze(2)

    def _scores(self, tokens: Tensor) -> Tensor:
        scores = torch.full((*tokens.shape, FIRST + CODES), -50.0)
        scores[:, 0, FIRST : FIRST + CODES - 1] = 0  # any first code
        for place in range(1, tokens.shape[1]):
            follows = tokens[:, place] + 1 if place % 2 else tokens[:, place] - 1
            scores[torch.arange(len(tokens)), place, follows] = 50
        return scores


class Given:
    device, seed = torch.device("cpu"), 0

    def __init__(self, run: Path) -> None:
        self.data = Splits(RunCodes(run=str(run)))


def test_a_prior_that_knows_the_codes_is_told_from_those_that_do_not(run: Path) -> None:
    asked = CodeSamples(run=str(run), examples=12, rows=1, columns=4)
    asked.check(RunCodes(run=str(run)).spec)
    found = asked(Knows(), Given(run))
    assert value(found, "nats", prior="learned") == pytest.approx(np.log(CODES - 1), abs=1e-4)
    assert value(found, "nats", prior="uniform") == pytest.approx(4 * np.log(CODES), abs=1e-6)
    distance = [value(found, "energy_distance", prior=name) for name in ("learned", "of frequencies", "uniform")]
    assert distance[0] < min(distance[1:])
    assert metric(found, "energy_distance", prior="learned").headline
    assert [*found.figures["samples of codes"].rows] == ["learned", "of frequencies", "uniform", "real codes"]
