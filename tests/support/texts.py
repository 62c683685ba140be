"""Texts for tests: tokenizers, encoders of which the right answer is known, and sets of files that evaluations read."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from special_ids import PAD
from torch import Tensor, nn

from ssl_runner.backbones.transformer import BERT
from ssl_runner.data.text.tokens import Tokens, train_tokenizer
from ssl_runner.evaluation.any.subject import FrozenSubject
from ssl_runner.evaluation.text.data import Texts
from ssl_runner.interfaces import Encoder, Examples, Features, TextEncoder, TextSpec
from ssl_runner.nn.tokens import mean_of_tokens

WORDS = (
    "the a cat dog sat ran on mat good bad nice awful film was Paul Rome Acme lives in works at gold lies it who what"
)
LENGTH = 24


@cache
def text_spec(tokens: Tokens = "words", length: int = LENGTH, lowercase: bool = False) -> TextSpec:
    """A tokenizer that knows WORDS and the words of the senses' sentences."""
    from ssl_runner.evaluation.text.senses import senses_text

    lines = [WORDS, *(senses_text(split).replace("*", "") for split in ("test", "val"))]
    tokenizer = train_tokenizer(lines, tokens=tokens, words="marks", vocabulary=3000, lowercase=lowercase)
    size = len(json.loads(tokenizer)["model"]["vocab"])
    return TextSpec(length=length, vocabulary=size, tokenizer=tokenizer, counts=(1,) * size, size=8)


class OneHot(TextEncoder):
    """A token is its id, one-hot: whatever depends on single tokens alone can be read off."""

    kind = "a test's encoder"

    def __init__(self, spec: TextSpec) -> None:
        super().__init__()
        self.special = spec.special
        self.dim = spec.vocabulary
        self.embedding = nn.Embedding(spec.vocabulary, spec.vocabulary)
        with torch.no_grad():
            self.embedding.weight.copy_(torch.eye(spec.vocabulary))
            self.embedding.weight[PAD] = 0

    def states(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.embedding(x), self.embedding(x)

    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        tokens = self.embedding(x)
        pooled = mean_of_tokens(tokens, x, PAD)
        return Features(tokens, pooled, (pooled,) if layers else ())


class Same(OneHot):
    """Every token is the same: a collapsed encoder."""

    def __init__(self, spec: TextSpec) -> None:
        super().__init__(spec)
        with torch.no_grad():
            self.embedding.weight.fill_(1.0)


def bert(spec: TextSpec, **changes: Any) -> BERT:
    """A small one with dropout, the same each time."""
    torch.manual_seed(0)
    sizes = {"dim": 16, "depth": 2, "heads": 2, "mlp_ratio": 2.0, "norm": "layer", "dropout": 0.1, "positions": None}
    given: dict[str, Any] = sizes | changes
    return BERT(spec, **given)


def subject(encoder: Encoder, spec: TextSpec, seed: int = 0) -> FrozenSubject:
    nothing = Examples(torch.zeros(2, spec.length, dtype=torch.int32), torch.full((2,), -1))
    data = Texts(spec, dict.fromkeys(("pretrain", "train", "val", "test"), nothing))
    return FrozenSubject(encoder, data, seed=seed, device=torch.device("cpu"), batch_size=16)


# --------------------------------------------------------------------------------------------------------------- files


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def classified(folder: Path) -> Path:
    """Films, good and bad; which of the two a word says."""
    subjects = ("film", "cat", "dog", "mat")
    rows = [
        f"{label}\tthe {thing} was {word}"
        for thing in subjects
        for label, words in (("neg", ("bad", "awful")), ("pos", ("good", "nice")))
        for word in words
    ]
    write(folder, "train.tsv", "\n".join(rows * 3) + "\n")
    write(folder, "test.tsv", "\n".join(rows[:8]) + "\n")
    return folder


def paired(folder: Path) -> Path:
    """Whether the second text is good, and a score of that."""
    rows = []
    for first in ("the cat", "a dog", "the film"):
        for word, label, score in (("good", "yes", 5), ("nice", "yes", 4), ("bad", "no", 1), ("awful", "no", 0)):
            rows.append(f"{label}\t{score}\t{first} sat\tit was {word}")
    write(folder, "train.tsv", "\n".join(rows * 3) + "\n")
    write(folder, "test.tsv", "\n".join(rows) + "\n")
    return folder


def scored(folder: Path) -> Path:
    """Pairs of which 0, 1, ... words of four are the same."""
    pairs = [
        ("the cat sat on", "the cat sat on", 4.0),
        ("the cat sat on", "the cat sat in", 3.0),
        ("the cat sat on", "the cat ran in", 2.0),
        ("the cat sat on", "the dog ran in", 1.0),
        ("the cat sat on", "a dog ran in", 0.0),
    ]
    text = "".join(f"x\tx\tx\tx\t{score}\t{a}\t{b}\n" for a, b, score in pairs)
    write(folder, "sts-dev.csv", text)
    write(folder, "sts-test.csv", text)
    return folder


def tagged(folder: Path) -> Path:
    """Names of one word."""
    sentences = [
        "Paul\tB-person\nlives\tO\nin\tO\nRome\tB-place\n",
        "Paul\tB-person\nworks\tO\nat\tO\nAcme\tB-group\n",
        "the\tO\ncat\tO\nsat\tO\non\tO\nAcme\tB-group\n",
        "a\tO\ndog\tO\nran\tO\nin\tO\nRome\tB-place\n",
    ]
    write(folder, "train.conll", "\n".join(sentences * 5))
    write(folder, "test.conll", "\n".join(sentences))
    return folder


def chosen(folder: Path) -> Path:
    """Questions of which the ending with a good word is right."""
    endings = ["it was bad", "it was awful", "it was good"]
    rows = [
        f"the {thing} sat,{','.join(endings[2 - place :] + endings[: 2 - place])},{place}"
        for thing in ("cat", "dog", "film", "mat")
        for place in range(3)
    ]
    head = "beginning,a,b,c,right"
    write(folder, "train.csv", "\n".join([head, *rows * 2]) + "\n")
    write(folder, "val.csv", "\n".join([head, *rows]) + "\n")
    return folder


def unanswered(folder: Path) -> Path:
    """As `asked`, with a question of each article that has no answer: it is of other words."""
    known = json.loads(asked(folder).read_text())
    for article in known["data"]:
        none = {"id": "n", "question": "at Rome", "answers": [], "is_impossible": True}
        article["paragraphs"][0]["qas"].append(none)
    return write(folder, "squad.json", json.dumps(known))


def asked(folder: Path) -> Path:
    """Two questions an article, whose answer is always gold."""
    articles = []
    for number, place in enumerate(("mat", "film", "cat", "dog") * 3):
        context = f"the {place} was nice . the gold lies on the {place} ."
        answer = [{"text": "gold", "answer_start": context.index("gold")}]
        questions = [{"id": f"{number}{q}", "question": q, "answers": answer} for q in ("what lies", "who lies")]
        articles.append({"title": place, "paragraphs": [{"context": context, "qas": questions}]})
    return write(folder, "squad.json", json.dumps({"version": "1.1", "data": articles}))


def glue(folder: Path) -> Path:
    """A few rows of each task, in the layout that GLUE is distributed in; a word says which class it is."""
    pair = [("the cat sat", "it was good", 1), ("a dog ran", "it was bad", 0), ("the film", "it was nice", 1)]
    pair += [("the mat", "it was awful", 0)]
    for split in ("train", "dev"):
        times = 6 if split == "train" else 1
        cola = "".join(f"src\t{label}\t{'' if label else '*'}\t{a} {b}\n" for a, b, label in pair)
        write(folder, f"CoLA/{split}.tsv", cola * times)
        rows = {
            "SST-2": ("sentence\tlabel", [f"{a} {b}\t{label}" for a, b, label in pair]),
            "MRPC": (
                "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String",
                [f"{label}\t1\t2\t{a}\t{b}" for a, b, label in pair],
            ),
            "STS-B": (
                "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore",
                [f"{i}\tg\tf\ty\to\ts\ts\t{a}\t{b}\t{4.5 * label + 0.1 * i}" for i, (a, b, label) in enumerate(pair)],
            ),
            "QQP": (
                "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",
                [*(f"0\t1\t2\t{a}\t{b}\t{label}" for a, b, label in pair), "7\t8\ta broken row"],
            ),
            "QNLI": (
                "index\tquestion\tsentence\tlabel",
                [f"0\t{a}\t{b}\t{'entailment' if label else 'not_entailment'}" for a, b, label in pair],
            ),
            "RTE": (
                "index\tsentence1\tsentence2\tlabel",
                [f"0\t{a}\t{b}\t{'entailment' if label else 'not_entailment'}" for a, b, label in pair],
            ),
            "WNLI": ("index\tsentence1\tsentence2\tlabel", [f"0\t{a}\t{b}\t{label}" for a, b, label in pair]),
        }
        for name, (header, lines) in rows.items():
            write(folder, f"{name}/{split}.tsv", "\n".join([header, *lines * times]) + "\n")
        three = {0: "contradiction", 1: "entailment"}
        lines = [f"0\t{a}\t{b}\tx\t{three[label]}" for a, b, label in pair] + ["0\ta cat\tit was it\tx\tneutral"]
        for name in ("train",) if split == "train" else ("dev_matched", "dev_mismatched"):
            text = "\n".join(["index\tsentence1\tsentence2\tlabel1\tgold_label", *lines * times]) + "\n"
            write(folder, f"MNLI/{name}.tsv", text)
    return folder
