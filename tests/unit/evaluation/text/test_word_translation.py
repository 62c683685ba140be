"""Maps between two spaces of words of which one is a turned copy of the other."""

import json
from pathlib import Path

import pytest
import torch
from findings import changed, node_of, value
from safetensors.torch import save_file
from scipy.linalg import orthogonal_procrustes
from texts import OneHot, subject, text_spec
from torch import Tensor

from ssl_runner.assembly.construct import construct
from ssl_runner.config.errors import ConfigError
from ssl_runner.evaluation.text.word_files import read_vectors, vector_files
from ssl_runner.evaluation.text.word_translation import WordTranslation, procrustes, read_dictionary
from ssl_runner.evaluation.text.words import words_of
from ssl_runner.interfaces import Finding

SPEC = text_spec()
WIDTH = 16
CPU = torch.device("cpu")


class Table(OneHot):
    """Words with random vectors."""

    def __init__(self, vectors: Tensor) -> None:
        super().__init__(SPEC)
        self.embedding = torch.nn.Embedding.from_pretrained(vectors, padding_idx=0)


def vectors() -> Tensor:
    return torch.randn(SPEC.vocabulary, WIDTH, generator=torch.Generator().manual_seed(0))


def turned(noise: float = 0.0) -> Tensor:
    """The same vectors, turned by an orthogonal map, of another length each, with noise."""
    generator = torch.Generator().manual_seed(1)
    turn, _ = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=generator))
    found = vectors() @ turn * (1 + torch.rand(SPEC.vocabulary, 1, generator=generator))
    return found + noise * torch.randn(found.shape, generator=generator)


def exported(folder: Path, table: Tensor) -> Path:
    """The files of an exported encoder that are read."""
    (folder / "encoder").mkdir(parents=True)
    save_file({"embedding.weight": table.contiguous()}, folder / "encoder" / "encoder.safetensors")
    (folder / "encoder" / "tokenizer.json").write_text(SPEC.tokenizer)
    about = {"counts": list(SPEC.counts), "starts": [], "ends": [], "special": vars(SPEC.special)}
    (folder / "encoder" / "tokens.json").write_text(json.dumps(about))
    return folder


def build(other: Path, **changes: object) -> WordTranslation:
    given = {"other": str(other), "seeds": 60, "questions": 30, "words": 10, "center": False}
    return construct(changed(node_of("word_translation"), given | changes))


def ask(other: Path, **changes: object) -> Finding:
    return build(other, **changes)(subject(Table(vectors()), SPEC))


def test_a_turned_copy_is_found_and_one_with_shuffled_seeds_is_not(tmp_path):
    found = ask(exported(tmp_path, turned()))
    for split in ("test", "val"):
        assert value(found, "precision", split, at=1) == 1.0
        assert value(found, "precision", split, at=5) == 1.0
        assert value(found, "precision", split, at=5, dictionary="shuffled") < 0.3
    names = len(words_of(subject(Table(vectors()), SPEC), restrict=None, case="fold").names)
    assert value(found, "chance") == pytest.approx(1 / names)
    assert value(found, "coverage") == 1
    assert [found.protocol.measured[f"{split} words"] for split in ("train", "val", "test")] == [60, 30, 30]
    figure = found.figures["both sides"]
    assert figure.points.shape == (2 * len(figure.texts) // 2, 2)
    assert set(figure.label.tolist()) == {0, 1}


def test_with_noise_it_is_what_scipys_map_and_a_loop_give(tmp_path):
    noisy = exported(tmp_path, turned(noise=1.5))
    evaluation = build(noisy, center=True)
    asked = subject(Table(vectors()), SPEC)
    found = evaluation(asked)
    own = words_of(asked, restrict=None, case="fold")
    other = read_vectors(vector_files("key", str(noisy)), restrict=None, case="fold", device=CPU)
    pairs = evaluation._pairs(own, other)
    parts = evaluation._parts(pairs)

    def prepared(side: Tensor) -> Tensor:
        centered = side.double() - side.double().mean(0)
        return centered / centered.norm(dim=1, keepdim=True)

    x, y = prepared(own.vectors), prepared(other.vectors)
    there = [pairs.known[word][0] for word in parts["train"]]
    turn, _ = orthogonal_procrustes(x[parts["train"]].numpy(), y[there].numpy())
    torch.testing.assert_close(procrustes(x[parts["train"]], y[there]), torch.from_numpy(turn))
    for k in (1, 5):
        right = 0
        for word in parts["test"]:
            cosine = (x[word] @ torch.from_numpy(turn)) @ y.T
            right += pairs.known[word][0] in cosine.argsort(descending=True)[:k].tolist()
        assert value(found, "precision", at=k) == pytest.approx(right / 30)
        assert right / 30 > 0.1


def test_vectors_of_a_text_file_and_a_users_dictionary(tmp_path):
    names = words_of(subject(Table(vectors()), SPEC), restrict=None, case="exact").names[:130]
    from tokenizers import Tokenizer

    ids = [Tokenizer.from_str(SPEC.tokenizer).token_to_id(name) for name in names]
    lines = [
        f"x{name} " + " ".join(f"{v:.6f}" for v in row.tolist()) for name, row in zip(names, turned()[ids], strict=True)
    ]
    (tmp_path / "other.vec").write_text("\n".join([f"130 {WIDTH}", *lines]))
    entries = [f"{name}\tx{name}" for name in names] + [f"{names[0]}\tx{names[1]}", "unheard\tof", "of\tunheard"]
    (tmp_path / "pairs.txt").write_text("\n".join(entries))
    found = ask(tmp_path / "other.vec", dictionary=str(tmp_path / "pairs.txt"), case="exact")
    assert value(found, "precision", at=1) == 1.0
    assert value(found, "coverage") == pytest.approx(131 / 133)
    assert found.protocol.measured["other vocabulary"] == 130


def test_of_a_small_dictionary_half_are_seeds(tmp_path):
    words = ("the", "a", "cat", "dog", "sat", "ran", "on", "mat")
    (tmp_path / "pairs.txt").write_text("\n".join(f"{word} {word}" for word in words))
    found = ask(exported(tmp_path, turned()), dictionary=str(tmp_path / "pairs.txt"))
    assert [found.protocol.measured[f"{split} words"] for split in ("train", "val", "test")] == [4, 2, 2]


def test_sides_of_different_widths(tmp_path):
    found = ask(exported(tmp_path, turned()[:, :12]))
    assert value(found, "precision", at=1) > 0.5
    x, y = torch.randn(50, 5, dtype=torch.float64), torch.randn(50, 3, dtype=torch.float64)
    torch.testing.assert_close(procrustes(x, y).T @ procrustes(x, y), torch.eye(3, dtype=torch.float64))


def test_files_of_another_form_are_refused(tmp_path):
    with pytest.raises(
        ConfigError, match=r"^evaluation\.word_translation\.other is .*nowhere'; it must be the folder of"
    ):
        build(tmp_path / "nowhere")
    file = tmp_path / "other.vec"
    for text, message in (
        ("the 1 2\ncat 1\n", r"line 2 has 1 numbers; it must have 2, as the lines before"),
        ("the 1 2\ncat 1 x\n", r"line 2 is 'cat 1 x'; it must be a word and its numbers"),
        ("\n", r"other\.vec has no words"),
    ):
        file.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_vectors([file], restrict=None, case="fold", device=CPU)
    entries = tmp_path / "pairs.txt"
    for text, message in (
        ("the der\ncat\n", r"line 2 is 'cat'; it must be a word and its translation"),
        ("\n", r"pairs\.txt has no entries"),
    ):
        entries.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_dictionary(entries)
    run = exported(tmp_path / "run", turned())
    entries.write_text("unheard of\nthe the\n")
    with pytest.raises(ValueError, match=r"of 2 entries of the dictionary 1 have both words in the vocabularies"):
        ask(run, dictionary=str(entries))
    with pytest.raises(ConfigError, match=r"dictionary is .*none', which is not an existing file"):
        build(run, dictionary=str(tmp_path / "none"))
    with pytest.raises(ConfigError, match=r"^evaluation\.word_translation\.seeds is 1; it must be at least 2 words"):
        build(run, seeds=1)
    save_file({"net.weight": turned()}, run / "encoder" / "encoder.safetensors")
    with pytest.raises(ConfigError, match="other is the folder of an encoder without a table of word vectors"):
        build(run)
