"""Edge probes, with an encoder of which it is known which layer knows what."""

from pathlib import Path

import pytest
import torch
from findings import changed, metric, node_of, value
from texts import OneHot, subject, text_spec, write
from torch import Tensor

from ssl_runner.assembly.construct import construct
from ssl_runner.config.errors import ConfigError
from ssl_runner.evaluation.any.scores import chunk_scores
from ssl_runner.evaluation.text.tagging import read_tagged
from ssl_runner.evaluation.text.text_layers import (
    Asked,
    Counts,
    TextLayers,
    counted,
    expected_layer,
    mean_layer,
    other_spans,
    span_features,
    spans_of,
)
from ssl_runner.interfaces import Finding
from ssl_runner.nn.tokens import mean_of_tokens

SENTENCES = (  # a word's tag follows from the word before it: a layer that sees it knows
    "the\tO\ncat\tB-animal\nsat\tO\n",
    "a\tO\ncat\tO\nsat\tO\non\tO\nmat\tO\n",
    "the\tO\nfilm\tB-thing\nI\tI-thing\nwas\tO\n",
    "a\tO\nfilm\tO\nwas\tO\n",
    "the\tO\ndog\tB-animal\nran\tO\nthe\tO\nfilm\tB-thing\non\tI-thing\n",
)


def folder(place: Path) -> Path:
    write(place, "train.conll", "\n".join(SENTENCES * 8))
    write(place, "test.conll", "\n".join(SENTENCES * 2))
    return place


class Deep(OneHot):
    """Layer 0 knows nothing of a token, layer 1 the token itself, layer 2 the token before it too."""

    def __init__(self) -> None:
        super().__init__(text_spec())
        width = 40
        self.dim = 2 * width
        self.table = torch.nn.Parameter(torch.randn(self.special.eos + 3000, width), requires_grad=False)

    def states(self, x: Tensor) -> tuple[Tensor, ...]:
        own = self.table[x]
        nothing = torch.zeros_like(own)
        before = torch.nn.functional.pad(own, (0, 0, 1, 0))[:, :-1]
        return (torch.cat((nothing, nothing), 2), torch.cat((own, nothing), 2), torch.cat((own, before), 2))

    def forward(self, x: Tensor, *, layers: bool = False):
        states = self.states(x)
        return super().forward(x)._replace(tokens=states[-1], pooled=mean_of_tokens(states[-1], x, 0))


def build(place: Path, **changes: object) -> TextLayers:
    given = {"path": str(place), "epochs": 1, "least_steps": 25, "learning_rate": 0.03, "resamples": 50}
    return construct(changed(node_of("text_layers"), given | changes))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Finding:
    torch.manual_seed(0)
    return build(folder(tmp_path_factory.mktemp("layers")))(subject(Deep(), text_spec()))


def test_each_task_is_solved_by_the_layers_that_know(found):
    for split in ("test", "val"):
        assert value(found, "score_up_to", split, task="tags", layer=2) > 0.9
        assert value(found, "score_up_to", split, task="tags", layer=1) < 0.9
        assert value(found, "score_up_to", split, task="entities", layer=1) == 1.0
        assert value(found, "score_up_to", split, task="spans", layer=2) > value(
            found, "score_up_to", split, task="spans", layer=0
        )
    assert value(found, "score", task="tags") == value(found, "score_up_to", task="tags", layer=2)
    tags, entities = (value(found, "expected_layer", task=task) for task in ("tags", "entities"))
    assert entities == pytest.approx(1.0)
    assert 1 < tags <= 2
    low, high = (value(found, "expected_layer", task="tags", bound=bound) for bound in ("lower", "upper"))
    assert low <= tags <= high
    assert 0 <= value(found, "center_of_gravity", task="tags") <= 2
    assert metric(found, "score", task="tags").headline
    assert set(found.figures) == {"tags by depth", "entities by depth", "spans by depth", "expected layer"}


def test_expected_layers_worked_by_hand():
    scores = torch.tensor([[0.2, 0.5], [0.5, 0.5], [0.6, 0.5]], dtype=torch.float64)
    found = mean_layer(scores)
    assert found[0].item() == pytest.approx((1 * 0.3 + 2 * 0.1) / 0.4)
    assert found[1].isnan()
    same = Counts(*(torch.ones(3, dtype=torch.float64) for _ in range(3)))
    assert expected_layer([same, same], 10)[0] is None


def test_intervals_are_over_sentences():
    """Half of the sentences gain by layer 1, half by layer 2: resamples differ in how many are of each kind."""
    one, none = torch.ones(40, dtype=torch.float64), torch.zeros(40, dtype=torch.float64)
    half = torch.arange(40) < 20
    counts = [Counts(right, one, one) for right in (none, half.double(), one)]
    expected, low, high = expected_layer(counts, 500)
    assert expected == pytest.approx(1.5)
    deviation = (0.25 / 40) ** 0.5
    assert low == pytest.approx(1.5 - 1.96 * deviation, abs=0.03)
    assert high == pytest.approx(1.5 + 1.96 * deviation, abs=0.03)


def test_tasks_of_tagged_words(tmp_path):
    tagged = read_tagged(build(folder(tmp_path)).files)
    types = ("animal", "thing")
    tags = spans_of("tags", tagged, types, "test")
    words = [tag for each in tagged.splits["test"].tags for tag in each]
    assert [tagged.tags[k] for k in tags.label.tolist()] == words
    assert torch.equal(tags.first, tags.last)
    entities = spans_of("entities", tagged, types, "test")
    assert len(entities.label) == 8
    assert [types[k] for k in entities.label.tolist()] == ["animal", "thing", "animal", "thing"] * 2
    assert (entities.last - entities.first).tolist() == [0, 1, 0, 1] * 2
    spans = spans_of("spans", tagged, types, "test")
    assert (spans.label == 1).sum() == 8
    pairs = list(zip(spans.first.tolist(), spans.last.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    whole = {(a, b) for a, b in zip(entities.first.tolist(), entities.last.tolist(), strict=True)}
    assert all((pair in whole) == bool(k) for pair, k in zip(pairs, spans.label.tolist(), strict=True))
    assert other_spans([(0, 1, 1, 0)], [0, 2]) == []  # the whole sentence is an entity


def test_scores_of_tags_are_those_of_a_loop():
    label, predicted = torch.tensor([0, 1, 2, 0, 1, 1]), torch.tensor([1, 1, 2, 0, 0, 2])
    asked = Asked(torch.arange(6), torch.arange(6), label, torch.tensor([0, 0, 0, 1, 1, 1]))
    names = ["O", "B-a", "B-b"]
    f1 = chunk_scores([[names[k] for k in predicted.tolist()]], [[names[k] for k in label.tolist()]])[0]
    assert counted("tags", predicted, asked, 2).f1().item() == pytest.approx(f1)
    assert counted("entities", predicted, asked, 2).f1().item() == pytest.approx(3 / 6)


def test_spans_are_the_means_of_their_words_and_those_that_were_cut_are_left_out(tmp_path):
    tagged = read_tagged(build(folder(tmp_path)).files).splits["test"]
    words = sum(map(len, tagged.words))
    kept = torch.tensor([word for word in range(words) if word != 3])
    layers = torch.randn(len(kept), 3, 5)
    asked = Asked(torch.tensor([0, 2, 5]), torch.tensor([1, 4, 7]), torch.tensor([0, 1, 0]), torch.tensor([0, 0, 1]))
    left, found = span_features(asked, kept, layers, tagged)
    assert left.first.tolist() == [0, 5]
    torch.testing.assert_close(found, torch.stack([layers[:2].mean(0), layers[4:7].mean(0)]))


def test_what_cannot_be_is_refused(tmp_path):
    place = folder(tmp_path)
    for changes, message in (
        (
            {"tasks": ["parses"]},
            r"^evaluation\.text_layers\.tasks is \['parses'\]; it must be a subset of tags, entities",
        ),
        ({"tasks": []}, r"tasks is \[\]"),
        ({"resamples": 1}, r"^evaluation\.text_layers\.resamples is 1; it must be at least 10"),
        ({"sentences": 1}, r"sentences is 1; it must be at least 2"),
    ):
        with pytest.raises(ConfigError, match=message):
            build(place, **changes)
    write(place, "train.conll", "the\tO\ncat\tB-animal\n\n" * 20)
    write(place, "test.conll", "the\tO\ncat\tB-animal\n\n" * 2)
    with pytest.raises(ConfigError, match="tasks has entities, and train has entities of one type, 'animal'"):
        build(place)
