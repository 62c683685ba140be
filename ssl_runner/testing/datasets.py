"""What `interfaces` promises of every dataset. A module that imports these tests defines the fixtures `source`, a
DataSource, and `examples`, what its `load` gives."""

from collections.abc import Mapping
from pathlib import Path
from typing import get_type_hints

import torch

from ssl_runner.interfaces import DataSource, DataSpec, Examples, SplitName

Splits = Mapping[SplitName, Examples]


def test_the_spec_is_of_the_kind_that_is_annotated(source: DataSource) -> None:
    wanted = get_type_hints(type(source).spec.fget)["return"]  # type: ignore[attr-defined]
    assert wanted is not DataSpec
    assert isinstance(source.spec, wanted)
    assert source.check() is None  # type: ignore[func-returns-value]


def test_contents_name_files(source: DataSource) -> None:
    for setting, named in source.contents().items():
        assert isinstance(setting, str)
        assert all(isinstance(name, str) and isinstance(path, Path) and path.is_file() for name, path in named.items())


def test_all_splits_have_examples_in_stored_form(source: DataSource, examples: Splits) -> None:
    assert set(examples) == {"pretrain", "train", "val", "test"}
    made = source.spec.fake(2)
    for name, split in examples.items():
        assert len(split.data) == len(split.label) > 0, name
        assert split.data.shape[1:] == made.shape[1:], name
        assert split.data.dtype == made.dtype, name


def test_labels_are_classes_or_none(source: DataSource, examples: Splits) -> None:
    classes = source.spec.classes
    for name, split in examples.items():
        assert split.label.dtype == torch.int64, name
        assert split.label.shape == (len(split.data),), name
        known = split.label[split.label >= 0] if name == "pretrain" else split.label
        if classes:
            assert ((known >= 0) & (known < classes)).all(), name
        else:
            assert (split.label == -1).all(), name
    assert len(source.spec.class_names) in (0, classes)


def test_the_number_of_pretraining_examples_is_as_counted(source: DataSource, examples: Splits) -> None:
    assert source.count() in (None, len(examples["pretrain"].data))


def test_loading_repeats_and_leaves_the_global_generator(source: DataSource, examples: Splits) -> None:
    """The same splits for all runs, whatever their seed."""
    torch.manual_seed(11)
    following = torch.rand(3)
    torch.manual_seed(11)
    again = source.load()
    assert torch.equal(torch.rand(3), following)
    for name, split in examples.items():
        assert torch.equal(split.data, again[name].data), name
        assert torch.equal(split.label, again[name].label), name


def test_input_is_what_encoders_read(source: DataSource, examples: Splits) -> None:
    stored = examples["train"].data[:2]
    before = stored.clone()
    given = source.spec.to_input(stored)
    assert torch.equal(stored, before)
    if source.spec.kind in ("images", "video clips"):
        assert given.dtype == torch.float32
        assert 0 <= given.min() <= given.max() <= 1
