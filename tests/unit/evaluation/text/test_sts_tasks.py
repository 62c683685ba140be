"""Six sets of scored pairs, and their average."""

from pathlib import Path

import pytest
import torch
from findings import changed, metric, node_of, value
from scipy.stats import spearmanr
from texts import OneHot, scored, subject, text_spec

from ssl_runner.assembly.construct import construct
from ssl_runner.config.errors import ConfigError
from ssl_runner.evaluation.any.controls import BagOfWords
from ssl_runner.evaluation.text.sts_tasks import SimilarityTasks
from ssl_runner.interfaces import Finding

PAIRS = {  # task -> source -> pairs with scores; "" without
    "2012": {
        "news": [("the cat sat", "the cat sat", "5.0"), ("a dog", "the film was bad", "0.5"), ("good", "bad", "")],
        "images": [("a dog ran", "a dog sat", "3.25"), ("a dog ran on mat", "gold", "0")],
    },
    "2016": {"forum": [("the mat", "the mat on", "4"), ("Paul lives in Rome", "it was awful", "1")]},
}


def folder(place: Path) -> Path:
    for task, sources in PAIRS.items():
        (place / task / "more").mkdir(parents=True)  # published folders hold the same files again
        for source, pairs in sources.items():
            (place / task / f"STS.input.{source}.txt").write_text("".join(f"{a}\t{b}\n" for a, b, _ in pairs))
            (place / task / f"STS.gs.{source}.txt").write_text("".join(f"{score}\n" for *_, score in pairs))
    (place / "stsb").mkdir()
    scored(place / "stsb")
    return place


def build(place: Path, **changes: object) -> SimilarityTasks:
    given = {"path": str(place), "folders": {"STS12": "2012", "STS16": "2016"}, "benchmark": str(place / "stsb")}
    return construct(changed(node_of("sts_tasks"), given | changes))


def ask(place: Path, **changes: object) -> Finding:
    return build(folder(place), **changes)(subject(OneHot(text_spec()), text_spec()))


def cosine(a: str, b: str) -> float:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(text_spec().tokenizer)
    counts = [torch.tensor([2, 3, *tokenizer.encode(text).ids]).bincount(minlength=3000).double() for text in (a, b)]
    return torch.nn.functional.cosine_similarity(counts[0], counts[1], dim=0).item()


def test_tasks_are_all_their_pairs_together_and_the_average_is_of_all_tasks(tmp_path):
    found = ask(tmp_path)
    rho = {}
    for name, task in (("STS12", "2012"), ("STS16", "2016")):
        rows = [row for source in PAIRS[task].values() for row in row_order(source)]
        rho[name] = spearmanr([round(cosine(a, b), 6) for a, b, _ in rows], [float(s) for *_, s in rows]).statistic
        assert value(found, "spearman", task=name) == pytest.approx(rho[name])
    rho["STS-B"] = value(found, "spearman", task="STS-B")
    assert value(found, "average") == pytest.approx(sum(rho.values()) / 3)
    assert [each.name for each in found.metrics if each.headline] == ["average"]
    assert found.protocol.measured["pairs of"]["STS12"] == 4
    assert metric(found, "spearman", split="val", task="STS-B").split == "val"


def row_order(source: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    return [row for row in source if row[2]]


def test_of_one_set_it_is_what_the_evaluation_of_that_set_says(tmp_path):
    found = ask(tmp_path)
    alone = construct(node_of("sts") | {"path": str(tmp_path / "stsb")})(subject(OneHot(text_spec()), text_spec()))
    for split in ("test", "val"):
        assert value(found, "spearman", split, task="STS-B") == value(alone, "spearman", split)


def test_bags_of_words_take_their_weights_from_val(tmp_path):
    found = build(folder(tmp_path))(subject(BagOfWords(text_spec()), text_spec()))
    assert found.protocol.measured["control"] == "cosine of tf-idf vectors"
    assert value(found, "spearman", task="STS16") > 0


def test_files_that_do_not_go_together_are_refused(tmp_path):
    place = folder(tmp_path)
    with pytest.raises(
        ConfigError, match=r"^evaluation\.sts_tasks\.path is .* no folder 'x'; set it to .*folders\.STS15"
    ):
        build(place, folders={"STS15": "x"})
    with pytest.raises(ConfigError, match=r"has no files STS\.input\.\*\.txt; evaluation\.sts_tasks\.folders\.a must"):
        build(place, folders={"a": "stsb"})
    with pytest.raises(ConfigError, match=r"evaluation\.sts_tasks\.folders is \{\}"):
        build(place, folders={})
    gold = place / "2016" / "STS.gs.forum.txt"
    gold.write_text("4\n")
    with pytest.raises(ConfigError, match=r"STS\.input\.forum\.txt has 2 pairs and STS\.gs\.forum\.txt 1 scores"):
        build(place)
    gold.write_text("4\nhigh\n")
    with pytest.raises(ConfigError, match=r"STS\.gs\.forum\.txt, line 2: the score 'high' is not a finite number"):
        build(place)
    gold.write_text("\n\n")
    with pytest.raises(ConfigError, match="has 0 pairs with a score; at least two are needed"):
        build(place)
    gold.unlink()
    with pytest.raises(ConfigError, match=r"has STS\.input\.forum\.txt and no STS\.gs\.forum\.txt"):
        build(place)
    gold.write_text("4\n1\n")
    (place / "2016" / "STS.input.forum.txt").write_text("the mat\tthe mat\nthe mat\n")
    with pytest.raises(ConfigError, match=r"line 2 is 'the mat'; it must be two texts, separated by a tab"):
        build(place)
