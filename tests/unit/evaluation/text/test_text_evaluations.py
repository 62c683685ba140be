"""The evaluations on texts from files, each with encoders of which the right answer is known."""

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import ClassVar

import pytest
import texts
import torch
from findings import changed, keys, metric, node_of, value
from special_ids import CLS, PAD, SEP
from texts import OneHot, Same, bert, subject, text_spec, write
from torch import Tensor

from ssl_runner.assembly.construct import construct
from ssl_runner.backbones.transformer import BERT, GPT
from ssl_runner.config.errors import ConfigError
from ssl_runner.evaluation.any.controls import BagOfWords
from ssl_runner.evaluation.any.tuning import Recipe, calibrated, fine_tune
from ssl_runner.evaluation.text.data import Question, Texts
from ssl_runner.evaluation.text.heads import language_loss, start
from ssl_runner.evaluation.text.span_qa import Guess, Spans, best_margin, best_spans, span_entropy
from ssl_runner.evaluation.text.tagging import word_entropy
from ssl_runner.interfaces import Evaluator, Examples, TextEncoder
from ssl_runner.results.metrics import Unit

SMALL = {"learning_rates": [0.3], "weight_decays": [1e-3], "steps": 60, "batch_size": 64}
TUNED = {"epochs": 15, "batch_size": 8, "learning_rate": 0.03, "weight_decay": 0.0}
PAIR = {"first": 2, "second": 3}
SETS = {  # evaluator -> what writes its files, and its settings
    "text_classification": (texts.classified, SMALL),
    "text_classification_finetune": (texts.classified, TUNED),
    "text_few_label": (texts.classified, SMALL | {"fractions": [0.25, 1.0], "per_class": [2]}),
    "sentence_pair": (texts.paired, SMALL | PAIR),
    "sentence_pair_finetune": (texts.paired, TUNED | PAIR),
    "tagging": (texts.tagged, SMALL),
    "tagging_finetune": (texts.tagged, TUNED),
    "word_tags": (texts.tagged, SMALL),
    "word_tags_finetune": (texts.tagged, TUNED),
    "multiple_choice": (texts.chosen, TUNED | {"label": "right", "beginning": "beginning", "endings": ["a", "b", "c"]}),
    "span_qa": (texts.asked, TUNED | {"question": 4, "answer": 3}),
    "span_qa_finetune": (texts.asked, TUNED | {"question": 4, "answer": 3}),
    "sts": (texts.scored, {}),
    "senses": (None, {}),
    "glue": (texts.glue, TUNED | {"epochs": 6}),
}
TRAINED = [name for name in SETS if name not in ("sts", "senses")]
EVERY = pytest.mark.parametrize("name", SETS)


def build(name: str, folder: Path, **changes: object) -> Evaluator:
    make, settings = SETS[name]
    path = {} if make is None else {"path": str(make(folder))}
    return construct(changed(node_of(name), settings | path | changes))


def ask(name: str, folder: Path, encoder: TextEncoder, **changes: object):
    return build(name, folder, **changes)(subject(encoder, text_spec()))


# ------------------------------------------------------------------------------------------------ promises of them all


class Watched(BERT):
    """Knows how many tokens it is given."""

    widths: ClassVar[list[int]] = []

    def _embed(self, x: Tensor) -> Tensor:
        self.widths.append(x.shape[1])
        return super()._embed(x)


@EVERY
@pytest.mark.parametrize("reach", [None, 64, "less"])
@pytest.mark.sampled(10)
def test_no_position_is_read_that_pretraining_did_not_show_and_what_is_cut_is_measured(name, reach, tmp_path):
    """`less`: as few as the evaluation can do with; there are 64 positions in any case."""
    sizes = {"dim": 8, "depth": 1, "heads": 2, "mlp_ratio": 1.0, "norm": "layer", "dropout": 0.0, "positions": 64}
    encoder = Watched(text_spec(), **sizes)
    encoder.reach = {"senses": 28, "span_qa": 9, "span_qa_finetune": 9}.get(name, 5) if reach == "less" else reach
    Watched.widths.clear()
    asked = {"length": 40} | ({"epochs": 1} if "epochs" in SETS[name][1] else {})
    found = ask(name, tmp_path, encoder, **asked)
    read, cut = (found.protocol.measured[key] for key in ("read", "cut"))
    assert read == min(40, encoder.reach or 40)
    assert max(Watched.widths) <= read
    cut = max(cut.values()) if name == "glue" else cut
    assert (cut > 0) is (reach == "less" and name not in ("senses", "span_qa", "span_qa_finetune"))
    if encoder.reach == 5:
        assert ask(name, tmp_path, encoder, **asked | {"length": 5}).protocol == found.protocol


def test_the_runs_own_texts_are_read_no_further_either():
    """Frozen, and where the encoder is trained: of rows of 24 tokens the first 9."""
    encoder, spec = bert(text_spec(), positions=64), replace(text_spec(), classes=2)
    encoder.reach = 9
    data = spec.fake(20)
    asked = subject(encoder, spec)
    asked.data = Texts(spec, dict.fromkeys(("train", "val", "test"), Examples(data, torch.arange(20) % 2)))
    expected = encoder.eval()(data[:, :9].long()).pooled
    torch.testing.assert_close(asked.features("train").data, expected.detach(), atol=1e-5, rtol=1e-4)
    recipe = Recipe(epochs=3, least_steps=1, batch_size=20, learning_rate=0.1, weight_decay=0.0, layer_decay=1.0)
    network = fine_tune(asked, calibrated(asked, recipe), asked.data.examples("train"), recipe).eval()
    with torch.no_grad():
        whole, part = network(data.long()), network(data[:, :9].long())
    assert whole.std() > 1e-3
    torch.testing.assert_close(whole, part)


@pytest.mark.parametrize("name", [name for name in SETS if "pair" in name or name in ("glue", "multiple_choice")])
def test_an_encoder_that_was_shown_less_than_a_pair_is_refused(name, tmp_path):
    encoder = bert(text_spec())
    encoder.reach = 4
    with pytest.raises(ValueError, match="the encoder reads 4 tokens, and a pair of texts needs 5"):
        ask(name, tmp_path, encoder)


@EVERY
def test_a_length_without_room_is_refused(name, tmp_path):
    with pytest.raises(ConfigError, match=rf"^evaluation\.{name}\.length is 2 tokens; it must be at least"):
        build(name, tmp_path, length=2)


@EVERY
def test_a_finding_can_be_written_down(name, tmp_path):
    found = ask(name, tmp_path, bert(text_spec()), **({"epochs": 1} if "epochs" in SETS[name][1] else {}))
    assert all(type(each.value) is float and math.isfinite(each.value) for each in found.metrics)
    assert json.loads(json.dumps(asdict(found.protocol))) == asdict(found.protocol)
    assert "method" in found.protocol.terms
    assert "seed" in found.protocol.measured
    assert all("files" in {**found.protocol.terms, **each.terms} for each in found.metrics)


@EVERY
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.sampled(10)
def test_encoder_and_generators_are_left_as_they_were(name, training, tmp_path):
    encoder = bert(text_spec()).train(training)
    encoder.transformer.blocks[0].eval()
    weights = {key: value.clone() for key, value in encoder.state_dict().items()}
    modes = [part.training for part in encoder.modules()]
    evaluator = build(name, tmp_path, **({"epochs": 1} if "epochs" in SETS[name][1] else {}))
    torch.manual_seed(7)
    following = torch.rand(3)
    torch.manual_seed(7)
    evaluator(subject(encoder, text_spec()))
    assert torch.equal(torch.rand(3), following)
    assert all(torch.equal(value, weights[key]) for key, value in encoder.state_dict().items())
    assert [part.training for part in encoder.modules()] == modes
    assert all(p.requires_grad and p.grad is None for p in encoder.parameters())


@pytest.mark.parametrize("name", [name for name in SETS if name != "glue"])
def test_a_seed_repeats_whatever_was_drawn_before(name, tmp_path):
    results = []
    for before in (1, 2):
        torch.manual_seed(before)
        found = build(name, tmp_path, **({"epochs": 1} if "epochs" in SETS[name][1] else {}))(
            subject(bert(text_spec()), text_spec(), seed=3)
        )
        results.append((found.metrics, found.protocol))
    assert results[0] == results[1]


HEADLINES = {
    "text_classification": ("accuracy", 1.0, 0.5),
    "text_classification_finetune": ("accuracy", 1.0, 0.5),
    "text_few_label": ("accuracy", 1.0, 0.5),
    "sentence_pair": ("accuracy", 1.0, 0.5),
    "sentence_pair_finetune": ("accuracy", 1.0, 0.5),
    "tagging": ("f1", 1.0, 0.0),
    "tagging_finetune": ("f1", 1.0, 0.0),
    "word_tags": ("accuracy", 1.0, None),
    "word_tags_finetune": ("accuracy", 1.0, None),
    "multiple_choice": ("accuracy", 1.0, None),
    "span_qa": ("f1", 1.0, None),
    "span_qa_finetune": ("f1", 1.0, None),
    "sts": ("spearman", 1.0, 0.0),
}
CONDITIONS = {"text_few_label": {"labels": 1.0}}


@pytest.mark.parametrize("name", HEADLINES)
def test_an_encoder_that_says_it_all_is_right_and_one_that_says_nothing_is_at_chance(name, tmp_path):
    headline, best, chance = HEADLINES[name]
    found = ask(name, tmp_path, OneHot(text_spec()))
    assert {each.name for each in found.metrics if each.headline} == {headline}
    condition = CONDITIONS.get(name, {})
    for split in ("test", "val"):
        assert value(found, headline, split, **condition) == pytest.approx(best)
    if chance is not None and "finetune" not in name:  # fine-tuned, it learns
        assert value(ask(name, tmp_path, Same(text_spec())), headline, **condition) == chance


def test_spans_of_an_encoder_that_says_nothing_are_not_found(tmp_path):
    assert value(ask("span_qa", tmp_path, Same(text_spec())), "f1") < 0.5


@pytest.mark.parametrize(
    "name", ["text_classification", "sentence_pair", "tagging", "span_qa", "sentence_pair_finetune"]
)
@pytest.mark.parametrize("layer", ["mix", "-2"])
def test_other_layers(name, layer, tmp_path):
    found = ask(name, tmp_path, OneHot(text_spec()), layer=layer)
    assert value(found, HEADLINES[name][0]) == 1.0


def test_the_layers_that_help_are_weighted(tmp_path):
    """Of three layers the embedding alone says anything."""

    class First(OneHot):
        def states(self, x):
            nothing = torch.zeros(*x.shape, self.dim)
            return self.embedding(x), nothing, nothing

    found = ask("text_classification", tmp_path, First(text_spec()), layer="mix", steps=300)
    first, second, third = found.protocol.measured["layer weights"]
    assert first > 0.5
    assert second == third == pytest.approx((1 - first) / 2, abs=1e-3)


WORDLESS = ("span_qa", "span_qa_finetune", "senses", "multiple_choice")  # which bare words cannot answer


@pytest.mark.parametrize("name", [name for name in SETS if name not in WORDLESS])
def test_bare_words_go_through_the_same_call(name, tmp_path):
    evaluator = build(name, tmp_path, **({"epochs": 1} if "epochs" in SETS[name][1] else {}))
    assert evaluator.pixels_are_control
    bag = evaluator(subject(BagOfWords(text_spec()), text_spec()))
    encoder = evaluator(subject(bert(text_spec()), text_spec()))
    assert keys(bag) == keys(encoder)
    assert [each.terms for each in bag.metrics] == [each.terms for each in encoder.metrics]
    assert bag.protocol.terms == encoder.protocol.terms
    if name != "text_few_label":
        assert "control" in bag.protocol.measured
    if name in HEADLINES:
        assert value(bag, HEADLINES[name][0], **CONDITIONS.get(name, {})) == pytest.approx(1.0)


@pytest.mark.parametrize("name", WORDLESS)
def test_bare_words_are_left_out_where_they_cannot_answer(name, tmp_path):
    assert not build(name, tmp_path).pixels_are_control


@pytest.mark.parametrize("name", [name for name in SETS if name != "senses"])
def test_missing_files_are_refused_before_anything_is_trained(name, tmp_path):
    with pytest.raises(ConfigError, match=rf"evaluation\.{name}\.path is '{tmp_path}/not"):
        build(name, tmp_path, path=f"{tmp_path}/not")


@pytest.mark.parametrize("name", TRAINED)
def test_encoders_of_images_are_refused(name, tmp_path):
    from ssl_runner.interfaces import TextSpec

    assert build(name, tmp_path).reads is TextSpec
    assert not build(name, tmp_path).needs_labels


@pytest.mark.parametrize("name", ["tagging", "tagging_finetune", "span_qa", "span_qa_finetune", "senses"])
def test_tokens_have_no_pooled_layer(name, tmp_path):
    with pytest.raises(ConfigError, match=rf"evaluation\.{name}\.layer is pooled, one vector per text"):
        build(name, tmp_path, layer="pooled")


@EVERY
def test_layers_that_are_none_are_refused(name, tmp_path):
    with pytest.raises(ConfigError, match=rf"evaluation\.{name}\.layer is 'last'"):
        build(name, tmp_path, layer="last")


@pytest.mark.parametrize("name", [name for name in TRAINED if "batch_size" in SETS[name][1]])
def test_numbers_out_of_range_are_refused(name, tmp_path):
    with pytest.raises(ConfigError, match=rf"evaluation\.{name}\.(grid|recipe)\.batch_size is 0"):
        build(name, tmp_path, batch_size=0)


# ------------------------------------------------------------------------------------------------------- one by one


def test_metrics_of_classes(tmp_path):
    texts.classified(tmp_path)
    write(tmp_path, "test.tsv", "neg\tthe film was bad\nneg\tthe film was awful\nneg\tgood\npos\tnice\n")
    node = {"path": str(tmp_path)}
    write(tmp_path, "train.tsv", (tmp_path / "train.tsv").read_text() + "pos\tgood\npos\tgood\n")
    evaluator = construct(changed(node_of("text_classification"), SMALL | node))
    found = evaluator(subject(OneHot(text_spec()), text_spec()))
    assert value(found, "accuracy") == 0.75
    assert value(found, "majority") == 0.25  # pos, of which there is one in four
    assert value(found, "macro_f1") == pytest.approx((2 * 2 / 5 + 2 / 3) / 2)
    assert value(found, "accuracy", "val") == 1.0
    assert found.protocol.measured["classes"] == 2
    assert found.protocol.measured["cut"] == 0.0
    assert set(found.protocol.chosen) == {"learning_rate", "weight_decay"}


def test_unknown_labels_and_columns_are_refused_when_the_evaluation_is_built(tmp_path):
    texts.classified(tmp_path)
    node = changed(node_of("text_classification"), {"path": str(tmp_path)})
    with pytest.raises(ConfigError, match=r"columns, and evaluation\.text_classification\.texts\.label is 4"):
        construct(changed(node, {"label": 4}))
    with pytest.raises(ConfigError, match=r"classification\.texts\.label is 'class', and .* no such column"):
        construct(changed(node, {"label": "class", "text": "text"}))
    write(tmp_path, "test.tsv", "pos\ta\nmixed\tb\n")
    with pytest.raises(ConfigError, match=r"test\.tsv, line 2: the label 'mixed' is not in train, which has neg, pos"):
        construct(node)


def test_scores_of_pairs_are_learned(tmp_path):
    node = {"labels": "scores", "label": 1, "epochs": 40}
    found = ask("sentence_pair_finetune", tmp_path, OneHot(text_spec()), **node)
    assert [key[:2] for key in keys(found)] == [
        (name, split) for split in ("test", "val") for name in ("spearman", "pearson")
    ]
    assert value(found, "spearman") > 0.9
    assert value(found, "pearson") > 0.95


def test_types_that_train_does_not_have_are_refused(tmp_path):
    texts.tagged(tmp_path)
    write(tmp_path, "test.conll", "Paul\tB-name\n")
    node = changed(node_of("tagging"), {"path": str(tmp_path)})
    with pytest.raises(
        ConfigError, match=r"test\.conll has the tag 'B-name'; train has the types group, person, place"
    ):
        construct(node)
    write(tmp_path, "train.conll", "Paul\tO\n")
    with pytest.raises(ConfigError, match=r"train\.conll has only the tag O"):
        construct(node)


def test_words_that_are_cut_off_are_o(tmp_path):
    """The name is the fourth word of three of four sentences; three words fit."""
    evaluator, spec = build("tagging", tmp_path, length=5), text_spec()
    found = evaluator(subject(OneHot(spec), spec))
    assert value(found, "precision") == 1.0
    assert value(found, "recall") == pytest.approx(2 / 6)  # Paul, twice
    assert found.protocol.measured["cut"] == pytest.approx(6 / 18, abs=1e-3)


def test_questions_are_split_by_article(tmp_path):
    whole = build("span_qa", tmp_path).questions.splits
    articles = {split: {each.article for each in part} for split, part in whole.items()}
    assert {split: len(part) for split, part in articles.items()} == {"train": 8, "val": 1, "test": 3}
    assert len(set.union(*articles.values())) == 12
    assert build("span_qa", tmp_path, split_seed=1).questions.splits["test"] != whole["test"]
    for share in (0.01, 0.99):
        with pytest.raises(ConfigError, match=rf"span_qa\.texts\.test_share is {share}, and .* has 12 articles"):
            build("span_qa", tmp_path, test_share=share)
    text = (tmp_path / "squad.json").read_text()
    for file in ("train-v1.1.json", "dev-v1.1.json", "val.json"):
        write(tmp_path, file, text)
    folder = build("span_qa", tmp_path, path=str(tmp_path)).questions.splits
    assert {split: len(part) for split, part in folder.items()} == {"train": 22, "val": 2, "test": 24}
    folder = build("span_qa", tmp_path, path=str(tmp_path), val="val.json").questions.splits
    assert {split: len(part) for split, part in folder.items()} == {"train": 24, "val": 24, "test": 24}


def test_one_article_cannot_be_split_for_val(tmp_path):
    texts.asked(tmp_path)
    one = json.loads((tmp_path / "squad.json").read_text())
    one["data"] = one["data"][:1]
    for file in ("train-v1.1.json", "dev-v1.1.json"):
        write(tmp_path, file, json.dumps(one))
    with pytest.raises(ConfigError, match=r"its train has 1 article, so .* evaluation\.span_qa\.texts\.val"):
        build("span_qa", tmp_path, path=str(tmp_path))


@pytest.mark.parametrize("name", ["span_qa", "span_qa_finetune"])
@pytest.mark.parametrize("wrong", [{"question": 0}, {"answer": 0}, {"overlap": 1.0}, {"overlap": -0.1}], ids=str)
def test_windows_out_of_range_are_refused(name, wrong, tmp_path):
    with pytest.raises(ConfigError, match=rf"evaluation\.{name}\.{next(iter(wrong))} is"):
        build(name, tmp_path, **wrong)


def test_the_best_span_against_a_double_loop():
    logits = torch.randn(3, 7, 2, generator=torch.Generator().manual_seed(0))
    logits[:, 5:] = -math.inf  # padding
    value, first, last = best_spans(logits, longest=3)
    for row in range(3):
        p = logits[row].log_softmax(dim=0)
        best = max((float(p[i, 0] + p[j, 1]), i, j) for i in range(1, 7) for j in range(i, min(i + 3, 7)))
        assert (first[row], last[row]) == best[1:]
        assert value[row] == pytest.approx(best[0])


def test_the_loss_of_spans_by_hand():
    logits = torch.tensor([[[0.0, 1.0], [2.0, 0.0], [-math.inf, -math.inf]]])
    first = -math.log(math.e**2 / (1 + math.e**2))
    last = -math.log(1 / (math.e + 1))
    assert span_entropy(logits, torch.tensor([[1, 1]])).item() == pytest.approx((first + last) / 2)


def test_only_the_text_and_cls_can_be_named():
    """[CLS] question [SEP] text [SEP] and padding."""
    spec = text_spec()
    network = Spans(start(subject(bert(spec), spec), bert(spec), "-1", "token", spec.fake(4), 2), spec.special).eval()
    x = torch.tensor([[CLS, 9, 8, SEP, 7, 9, SEP, PAD, PAD]])
    assert network(x)[0].isfinite().all(dim=1).tolist() == [True, False, False, False, True, True, False, False, False]


def test_words_without_a_token_have_no_loss():
    logits, tag = torch.randn(2, 3, 4), torch.tensor([[1, -1, -1], [-1, 2, 0]])
    by_hand = -sum(logits[i, j].log_softmax(0)[tag[i, j]] for i, j in ((0, 0), (1, 1), (1, 2))) / 3
    assert word_entropy(logits, tag) == pytest.approx(by_hand.item())
    assert word_entropy(logits, torch.full((2, 3), -1)) == 0


def test_poolers(tmp_path):
    """Of one-hot tokens the first is [CLS] in all sentences: all cosines are 1, and say nothing."""
    found = ask("sts", tmp_path, OneHot(text_spec()), pooler="cls")
    assert [each.value for each in found.metrics] == [0.0] * 4
    mean = ask("sts", tmp_path, OneHot(text_spec()))
    same = [(2 + n) / 6 for n in (4, 3, 2, 1, 0)]  # cosines: of six tokens, [CLS] and [SEP] are always common
    from ssl_runner.evaluation.any.scores import pearson

    expected = pearson(torch.tensor(same), torch.tensor([4.0, 3, 2, 1, 0]))
    assert value(mean, "pearson") == pytest.approx(expected, abs=1e-5)


def test_the_least_share_of_labels_is_worse_than_all(tmp_path):
    found = ask("text_few_label", tmp_path, OneHot(text_spec()))
    conditions = [each.condition for each in found.metrics if (each.name, each.split) == ("accuracy", "test")]
    assert conditions == [{"labels": 0.25}, {"labels": 1.0}, {"per_class": 2}]
    assert found.figures["accuracy by labels"].x == [4, 11, 43]


def test_glue_scores_and_average(tmp_path):
    found = ask("glue", tmp_path, OneHot(text_spec()))
    tasks = ["CoLA", "SST-2", "MRPC", "STS-B", "QQP", "MNLI", "QNLI", "RTE", "WNLI"]
    for split in ("test", "val"):
        scores = [value(found, "score", split, task=task) for task in tasks]
        assert value(found, "average", split) == pytest.approx(sum(scores) / 9)
    for task in tasks:
        if task != "STS-B":
            assert value(found, "score", task=task) == 1.0, task
    assert value(found, "score", task="STS-B") > 0.8
    assert value(found, "majority", task="QQP") == 0.5
    assert value(found, "majority", task="MNLI") == 0.4
    for split, other in (("test", {("accuracy", "MNLI", "mismatched")}), ("val", set())):
        given = {
            (each.name, each.condition["task"], each.condition.get("set"))
            for each in found.metrics
            if each.split == split and each.name not in ("average", "score", "majority")
        }
        assert given == other | {
            ("matthews", "CoLA", None), ("accuracy", "SST-2", None), ("f1", "MRPC", None), ("accuracy", "MRPC", None),
            ("pearson", "STS-B", None), ("spearman", "STS-B", None), ("f1", "QQP", None), ("accuracy", "QQP", None),
            ("accuracy", "MNLI", None), ("accuracy", "QNLI", None), ("accuracy", "RTE", None),
            ("accuracy", "WNLI", None),
        }  # fmt: skip
    for task, parts in (
        ("MRPC", [value(found, "f1", task="MRPC"), value(found, "accuracy", task="MRPC")]),
        ("STS-B", [value(found, "pearson", task="STS-B"), value(found, "spearman", task="STS-B")]),
        ("MNLI", [value(found, "accuracy", task="MNLI"), value(found, "accuracy", task="MNLI", set="mismatched")]),
    ):
        assert value(found, "score", task=task) == pytest.approx(sum(parts) / 2)


def test_glue_s_units_are_those_of_its_scores(tmp_path):
    found = build("glue", tmp_path, tasks=["RTE", "CoLA", "STS-B"], epochs=1)(subject(bert(text_spec()), text_spec()))
    assert {task: metric(found, "score", task=task).unit for task in ("RTE", "CoLA", "STS-B")} == {
        "RTE": Unit.SHARE,
        "CoLA": Unit.CORRELATION,
        "STS-B": Unit.CORRELATION,
    }
    assert metric(found, "average").unit is Unit.PLAIN
    assert [each.split for each in found.metrics if each.headline] == ["test", "val"]


def test_glue_of_some_tasks_and_examples(tmp_path):
    node = {"epochs": 1, "examples": 20}
    found = build("glue", tmp_path, tasks=["RTE", "CoLA"], **node)(subject(bert(text_spec()), text_spec()))
    assert metric(found, "average").terms["tasks"] == ["CoLA", "RTE"]
    assert {each.condition["task"] for each in found.metrics if each.condition} == {"CoLA", "RTE"}
    alone = build("glue", tmp_path, tasks=["RTE"], **node)(subject(bert(text_spec()), text_spec()))
    for name in ("score", "accuracy", "majority"):  # of one task: whatever the others are
        for split in ("test", "val"):
            assert metric(alone, name, split, task="RTE") == metric(found, name, split, task="RTE")
    assert metric(alone, "average").terms != metric(found, "average").terms


def test_val_of_glue_is_not_trained_on(tmp_path, monkeypatch):
    """24 rows of train: 22 are trained on and 2 are val; test is the dev set."""
    from ssl_runner.evaluation.text import glue

    seen = []

    def answer(subject, spec, given, layer, recipe):
        seen.append({split: len(rows) for split, rows in given.texts.items()})
        return lambda rows: torch.zeros(len(rows), len(given.classes))

    monkeypatch.setattr(glue, "tuned_answer", answer)
    ask("glue", tmp_path, OneHot(text_spec()), tasks=["RTE", "MNLI"])
    assert seen == [{"train": 27, "val": 3, "test": 5}, {"train": 22, "val": 2, "test": 4}]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": []}, r"evaluation\.glue\.tasks is \[\]; it must be a subset of CoLA, SST-2"),
        ({"tasks": ["RTE", "RTE"]}, "without repeats"),
        ({"tasks": ["SNLI"]}, r"tasks is \['SNLI'\]"),
        ({"examples": 9}, r"evaluation\.glue\.examples is 9; it must be at least 10"),
    ],
)
def test_glue_refuses(changes, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        build("glue", tmp_path, **changes)


def test_glue_names_the_folder_that_is_missing(tmp_path):
    texts.glue(tmp_path)
    (tmp_path / "MNLI" / "dev_mismatched.tsv").unlink()
    node = changed(node_of("glue"), {"path": str(tmp_path)})
    with pytest.raises(
        ConfigError, match=r"MNLI' has no dev_mismatched\.tsv; .*tasks=\[CoLA,SST-2,MRPC,STS-B,QQP,QNLI,"
    ):
        construct(node)


def test_questions_without_an_answer_are_left_unanswered_by_a_margin_from_val(tmp_path):
    """A word of the question says that there is none, which one-hot tokens cannot carry to the answer: fine-tuned."""
    folder = texts.unanswered(tmp_path)
    node = changed(node_of("span_qa_finetune"), SETS["span_qa_finetune"][1] | {"path": str(folder), "epochs": 40})
    found = construct(node)(subject(bert(text_spec(), dropout=0.0), text_spec()))
    assert {each.name for each in found.metrics} == {"f1", "exact_match", "no_answer", "f1_answered"}
    assert "margin" in found.protocol.chosen
    parts = [value(found, name) for name in ("f1_answered", "no_answer")]
    assert value(found, "f1") == pytest.approx((2 * parts[0] + parts[1]) / 3)
    assert "no answer" in found.protocol.terms
    assert "no answer" not in ask("span_qa_finetune", tmp_path / "other", bert(text_spec()), epochs=1).protocol.terms


@pytest.mark.parametrize(
    ("margins", "right", "expected"),
    [
        ([3.0, 1.0, -1.0], [True, True, False], 1.0),  # the third has no answer
        ([3.0, 1.0, -1.0], [False, False, False], 4.0),
        ([3.0, 1.0, -1.0], [True, True, True], -1.0),
    ],
)
def test_the_margin_is_that_of_the_highest_f1(margins, right, expected):
    guesses = [Guess("gold", margin) for margin in margins]
    asked = [Question(0, "gold", "what", ("gold",) if each else (), 0 if each else -1) for each in right]
    assert best_margin(guesses, asked) == expected


def test_a_tag_may_be_any_column(tmp_path):
    """CoNLL-U: comments, a word that stands for two, which has no tag, and ten columns."""
    rows = ["1\tthe\tthe\tDET", "2-3\tcats\t_\t_", "2\tcat\tcat\tNOUN", "3\tsat\tsit\tVERB"]
    write(tmp_path, "train.conll", "\n\n".join("\n".join(["# text = the cats sat", *rows]) for _ in range(10)))
    write(tmp_path, "test.conll", "\n".join([*rows, "4\ton\ton\tADP"]))
    settings = SMALL | {"path": str(tmp_path), "word_column": 1, "tag_column": 3}
    found = construct(changed(node_of("word_tags"), settings))(subject(OneHot(text_spec()), text_spec()))
    assert value(found, "accuracy", "val") == 1.0
    assert value(found, "accuracy") == 0.75  # of ADP there is none in train
    with pytest.raises(ConfigError, match="word_column and tag_column are both 1"):
        construct(changed(node_of("word_tags"), settings | {"tag_column": 1}))
    with pytest.raises(ConfigError, match=r"line 2: .* has no tag; .* columns 1 and 9"):
        construct(changed(node_of("word_tags"), settings | {"tag_column": 9, "word_column": 1}))


def test_choices_that_are_no_places_are_refused(tmp_path):
    texts.chosen(tmp_path)
    settings = SETS["multiple_choice"][1] | {"path": str(tmp_path)}
    with pytest.raises(ConfigError, match=r"has the labels 0, 1, 2 .*; with 2 endings they must be the places 0 to 1"):
        construct(changed(node_of("multiple_choice"), settings | {"endings": ["a", "b"]}))
    with pytest.raises(ConfigError, match="must list two or more different columns"):
        construct(changed(node_of("multiple_choice"), settings | {"endings": ["a", "a"]}))


def test_the_auxiliary_loss_is_that_of_a_language_model():
    """In a loop over tokens, with embeddings for weights."""
    spec = text_spec()
    torch.manual_seed(0)
    encoder = GPT(spec, dim=8, depth=1, heads=2, mlp_ratio=1.0, norm="layer", dropout=0.0, positions=None).eval()
    x = spec.fake(3).long()
    x[1, 5:] = PAD
    total, count = 0.0, 0
    for row in x:
        for place in range(len(row) - 1):
            if row[place + 1] != PAD:
                scores = encoder(row[None, : place + 1]).tokens[0, -1] @ encoder.embedding.weight.T
                total -= scores.log_softmax(0)[row[place + 1]].item()
                count += 1
    assert language_loss(encoder, 0.5)(x).item() == pytest.approx(0.5 * total / count, rel=1e-4)


def test_an_auxiliary_loss_needs_a_causal_encoder_and_is_a_term(tmp_path):
    with pytest.raises(ValueError, match="sees the next token: set auxiliary=0"):
        ask("text_classification_finetune", tmp_path, bert(text_spec()), auxiliary=0.5)
    with pytest.raises(ConfigError, match=r"evaluation.tagging_finetune.auxiliary is -1.0; it must be 0"):
        build("tagging_finetune", tmp_path, auxiliary=-1.0)
    for name in ("text_classification_finetune", "tagging_finetune", "span_qa_finetune", "multiple_choice"):
        torch.manual_seed(0)
        encoder = GPT(text_spec(), dim=8, depth=1, heads=2, mlp_ratio=1.0, norm="layer", dropout=0.0, positions=None)
        found = ask(name, tmp_path, encoder, auxiliary=0.5, epochs=1)
        assert all(math.isfinite(each.value) for each in found.metrics)


@pytest.mark.parametrize("name", ["text_classification", "sentence_pair"])
def test_what_each_text_was_given_is_kept(name, tmp_path):
    found = ask(name, tmp_path, Same(text_spec()))
    assert [each.split for each in found.predictions] == ["test", "val"]
    said = found.predictions[0]
    right = (said.label == said.predicted).mean()
    assert right == pytest.approx(value(found, "accuracy"))
    assert len(said.texts) == len(said.label)
    assert set(said.label) <= set(range(len(said.names)))
    assert ((said.probability >= 1 / len(said.names) - 1e-6) & (said.probability <= 1)).all()


def test_what_each_question_was_answered_is_kept(tmp_path):
    evaluator = build("span_qa", tmp_path)
    found = evaluator(subject(Same(text_spec()), text_spec()))
    assert [each.split for each in found.answers] == ["test", "val"]
    for said in found.answers:
        asked = evaluator.questions.splits[said.split]
        assert list(said.questions) == [each.question for each in asked]
        assert sum(said.f1) / len(said.f1) == pytest.approx(value(found, "f1", said.split))
        assert sum(said.exact) / len(said.exact) == pytest.approx(value(found, "exact_match", said.split))
        assert all(given in each.context for given, each in zip(said.given, asked, strict=True))


@pytest.mark.parametrize("name", ["tagging", "word_tags"])
def test_what_each_word_was_given_is_kept(name, tmp_path):
    found = ask(name, tmp_path, Same(text_spec()))
    said = found.predictions[0]
    assert said.split == "test"
    assert len(said.texts) == len(said.label) == len(said.predicted)
    assert all(text.count("[") == 1 for text in said.texts)
    if name == "word_tags":
        assert (said.label == said.predicted).mean() == pytest.approx(value(found, "accuracy"))


def test_wrong_answers_are_shown_with_the_right_ones():
    from ssl_runner.evaluation.text.data import Question
    from ssl_runner.evaluation.text.span_qa import Guess, answered, near_answer, wrong_answers

    context = "a" * 200 + " the red cat " + "b" * 200
    asked = Question(0, context, "who?", ("the red cat",), 201)
    none = Question(0, "nobody", "where?", (), -1)
    guesses = [Guess("a dog", 1.0), Guess("red cat", 2.0), Guess("here", 3.0)]
    shown = wrong_answers(answered(guesses, [asked, asked, none], -1.0, "test"), guesses, [asked, asked, none])
    assert shown.rows["given"] == ["here", "a dog"]  # of equals the surest first
    assert shown.rows["right"] == ["no answer", "the red cat"]
    assert "[the red cat]" in near_answer(asked)
    assert near_answer(asked).startswith("…a")
    assert near_answer(asked).endswith("b…")
    assert wrong_answers(answered(guesses[1:2], [asked], -1.0, "test"), guesses[1:2], [asked]) is None
