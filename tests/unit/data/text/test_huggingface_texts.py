from pathlib import Path

import pytest
import torch

from ssl_runner.data.text.huggingface_texts import HuggingFaceTexts

datasets = pytest.importorskip("datasets")
WORDS = ["owl", "cat", "dog", "emu", "fox", "hen", "cow", "pig", "ant", "bee"]


def source(path: Path, **changes: object) -> HuggingFaceTexts:
    settings = {
        "path": str(path), "config": None, "revision": None, "train": None, "val": None, "test": None,
        "text_column": "text", "label_column": "label", "streaming": False, "limit": None, "example": "document",
        "length": 8, "tokens": "words", "words": "marks", "vocabulary": 100, "lowercase": True, "tokenizer": None,
        "sentences": "split", "cache": str(path.parent / "cache"), "test_fraction": 0.2, "val_fraction": 0.25,
        "split_seed": 0,
    }  # fmt: skip
    return HuggingFaceTexts(**{**settings, **changes})


def write(folder: Path, **splits: int) -> Path:
    root = folder / "data"
    root.mkdir()
    for name, n in splits.items():
        texts = [f"the {WORDS[i % 10]} of {name} is here." for i in range(n)]
        table = {"text": texts, "label": [("loud", "calm")[i % 2] for i in range(n)], "stars": [0.5] * n}
        datasets.Dataset.from_dict(table).to_parquet(str(root / f"{name}-00000.parquet"))
    return root


def read(own: HuggingFaceTexts, ids: torch.Tensor) -> str:
    from tokenizers import Tokenizer

    return Tokenizer.from_str(own.spec.tokenizer).decode(ids.tolist())


def test_a_row_is_a_document_with_its_class(tmp_path) -> None:
    own = source(write(tmp_path, train=20, test=6))
    own.check()
    assert (own.spec.classes, own.spec.class_names) == (2, ("calm", "loud"))
    splits = own.load()
    assert {name: len(part.label) for name, part in splits.items()} == {
        "pretrain": 15, "train": 15, "val": 5, "test": 6,
    }  # fmt: skip
    assert splits["test"].label.tolist() == [1, 0, 1, 0, 1, 0]
    assert "the cat of test is here" in read(own, splits["test"].data[1]) or "cat" in read(own, splits["test"].data[1])
    assert sorted(own.contents()["path"]) == ["test-00000.parquet", "train-00000.parquet"]


def test_limit_and_no_labels(tmp_path) -> None:
    own = source(write(tmp_path, train=20, validation=4, test=6), limit=3, label_column=None)
    splits = own.load()
    assert [len(splits[part].label) for part in ("train", "val", "test")] == [3, 3, 3]
    assert own.spec.classes == 0
    whole = source(tmp_path / "data", label_column=None).load()  # another limit is another cache
    assert len(whole["train"].label) == 20


@pytest.mark.parametrize(("changes", "message"), [
    ({"text_column": "body"}, r"dataset\.text_column is body, and .* has the columns text, label, stars"),
    ({"text_column": "stars"}, r"dataset\.text_column is stars, which holds .*, not text"),
    ({"label_column": "stars"}, r"dataset\.label_column is stars, which holds float64; it must hold classes"),
    ({"length": 1}, r"dataset\.length is 1"),
])  # fmt: skip
def test_what_cannot_be_used_is_refused(tmp_path, changes, message: str) -> None:
    root = write(tmp_path, train=20)
    with pytest.raises(ValueError, match=message):
        source(root, **changes).check()
    assert not (tmp_path / "cache").exists()


def test_labels_that_train_does_not_have_are_refused(tmp_path) -> None:
    root = write(tmp_path, train=20)
    strange = datasets.Dataset.from_dict({"text": ["a word"], "label": ["soft"], "stars": [0.5]})
    strange.to_parquet(str(root / "test-0.parquet"))
    with pytest.raises(ValueError, match=r"the label 'soft' of test is not in train, which has calm, loud"):
        source(root).load()
