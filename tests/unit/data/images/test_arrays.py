import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ssl_runner import load_encoder
from ssl_runner.assembly.export import exported_spec
from ssl_runner.commands.run import run
from ssl_runner.config.compose import compose
from ssl_runner.config.request import RunRequest
from ssl_runner.data.any.splits import stratified
from ssl_runner.data.images.arrays import Arrays
from ssl_runner.interfaces import Boxed, ImageSpec
from ssl_runner.results.result import read_result

CIFAR = Path(__file__).parents[4] / "../shared/data/cifar10/cifar10_lossless_4000_1000.npz"


def source(path: Path, **changes: object) -> Arrays:
    settings = {"range": None, "clip": False, "channel_axis": None, "test_fraction": 0.2, "val_fraction": 0.2}
    return Arrays(**{"path": str(path), "split_seed": 0} | settings | changes)


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)


def plain() -> dict[str, np.ndarray]:
    return {
        "x_train": pixels(10, 8, 6, 3),
        "y_train": np.arange(10) % 2,
        "x_test": pixels(4, 8, 6, 3),
        "y_test": np.array([0, 1, 2, 0]),
    }


def save(folder: Path, arrays: dict[str, np.ndarray], *, compressed: bool = False) -> Path:
    path = folder / "own.npz"
    (np.savez_compressed if compressed else np.savez)(path, **arrays)
    return path


def test_cifar_file_is_read_as_it_is() -> None:
    if not CIFAR.is_file():
        pytest.skip("../shared/data/cifar10 is not there")
    arrays = source(CIFAR)
    arrays.check()
    spec, splits = arrays.spec, arrays.load()
    assert (spec.channels, spec.height, spec.width, spec.classes) == (3, 32, 32, 10)
    assert spec.class_names[0] == "airplane"
    with np.load(CIFAR) as stored:
        assert np.array_equal(splits["test"].data.numpy(), stored["x_test"].transpose(0, 3, 1, 2))
        assert np.array_equal(splits["test"].label.numpy(), stored["y_test"])
    assert (len(splits["pretrain"].label), len(splits["val"].label)) == (3200, 800)


@pytest.mark.parametrize(
    ("shape", "axes", "expected"),
    [
        ((8, 6), None, (1, 8, 6)),
        ((8, 6, 1), (2, 0, 1), (1, 8, 6)),
        ((8, 6, 3), (2, 0, 1), (3, 8, 6)),
        ((3, 8, 6), (0, 1, 2), (3, 8, 6)),
    ],
)
@pytest.mark.parametrize("compressed", [True, False])
def test_the_channel_axis_is_the_one_that_may_be(tmp_path, shape, axes, expected, compressed: bool) -> None:
    arrays = {**plain(), "x_train": pixels(10, *shape), "x_test": pixels(4, *shape)}
    own = source(save(tmp_path, arrays, compressed=compressed))
    assert (own.spec.channels, own.spec.height, own.spec.width) == expected
    stored = arrays["x_test"]
    wanted = stored[:, None] if axes is None else stored.transpose(0, *(1 + axis for axis in axes))
    test = own.load()["test"]
    assert np.array_equal(test.data.numpy(), wanted)
    assert test.data.is_contiguous()
    assert test.data.dtype == torch.uint8


def test_classes_are_counted_over_all_parts_or_by_their_names(tmp_path) -> None:
    assert source(save(tmp_path, plain())).spec.classes == 3
    named = source(save(tmp_path, {**plain(), "label_names": np.array(["a", "b", "c", "d"])})).spec
    assert (named.classes, named.class_names) == (4, ("a", "b", "c", "d"))


@pytest.mark.parametrize(("y", "names", "found"), [
    (np.arange(10) % 4 * 10**9, None, ("0", "1000000000", "2000000000", "3000000000")),
    (np.arange(10) % 4 + 1, None, ("1", "2", "3", "4")),
    (np.array([2**63 - 1, 5] * 5, np.uint64), None, ("5", "9223372036854775807")),
    (np.array([5, 5] * 5, np.uint8), None, ("5",)),
    (np.array([True, False] * 5), None, ()),
    (np.array(["owl", "cat"] * 5), None, ("cat", "owl")),
    (np.array([b"owl", "caf\xe9".encode()] * 5), None, ("caf\xe9", "owl")),
    (np.array(["10", "9"] * 5), None, ("9", "10")),
    (np.array(["owl ", "cat"] * 5), ["owl", "cat", "emu"], ("owl", "cat", "emu")),
    (np.array([b"owl", b"cat"] * 5), [b"owl", b"cat"], ("owl", "cat")),
    (np.arange(10) % 2, [b"owl", b"cat"], ("owl", "cat")),
    (np.arange(10) % 2, [7, 9], ("7", "9")),
    (np.arange(10) % 2, ["crane", "crane"], ("crane", "crane")),
])  # fmt: skip
def test_labels_of_many_kinds_are_numbered(tmp_path, y: np.ndarray, names, found: tuple[str, ...]) -> None:
    """Ids, numbers from 1, truth values, text: the number of each label is the place of its name."""
    arrays = {**plain(), "y_train": y, "y_test": y[:4]} | ({} if names is None else {"label_names": np.array(names)})
    own = source(save(tmp_path, arrays))
    own.check()
    assert own.spec.class_names == found
    assert own.spec.classes == (len(found) or 2)
    test = own.load()["test"].label
    assert test.dtype == torch.int64
    told = [each.decode() if isinstance(each, bytes) else str(each).strip() for each in y[:4].tolist()]
    if y.dtype.kind in "biu" and (names is not None or not found):
        assert test.tolist() == y[:4].tolist()
    else:
        assert [found[label] for label in test.tolist()] == told


def test_black_images_are_refused(tmp_path) -> None:
    arrays = {**plain(), "x_train": pixels(10, 8, 6, 3) % 2, "x_test": pixels(4, 8, 6, 3) % 2}
    with pytest.raises(ValueError, match="are black: no value exceeds 1 of 255"):
        source(save(tmp_path, arrays)).load()


def test_a_folder_without_arrays_is_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"there is no x_train in it, only nothing"):
        source(tmp_path).check()


def test_a_val_part_is_taken_as_it_is(tmp_path) -> None:
    arrays = {**plain(), "x_val": pixels(3, 8, 6, 3), "y_val": np.array([[2], [1], [0]], dtype=np.uint8)}
    splits = source(save(tmp_path, arrays)).load()
    assert splits["val"].label.tolist() == [2, 1, 0]
    assert len(splits["train"].label) == 10
    assert splits["pretrain"] is splits["train"]


def test_the_size_is_known_from_headers(tmp_path) -> None:
    own = source(save(tmp_path, plain()))
    assert own.spec.size == 8 == len(own.load()["pretrain"].label)
    whole = source(save(tmp_path, {**plain(), "x_val": pixels(3, 8, 6, 3), "y_val": np.zeros(3, int)}))
    assert whole.spec.size == 10 == len(whole.load()["pretrain"].label)


def test_without_labels_it_is_unlabeled(tmp_path) -> None:
    own = source(save(tmp_path, {name: array for name, array in plain().items() if name.startswith("x_")}))
    assert own.spec.classes == 0
    assert set(own.load()["train"].label.tolist()) == {-1}


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(8, 6), (8, 6, 3), (3, 8, 6)])
def test_images_are_read_a_few_at_a_time(tmp_path, monkeypatch, shape: tuple[int, ...], order) -> None:
    """What is kept is what a whole read, and val and test held out of it, would give."""
    monkeypatch.setattr("ssl_runner.data.images.arrays.CHUNK_BYTES", 3 * math.prod(shape))
    x, label = pixels(20, *shape), torch.arange(20) % 4
    np.save(tmp_path / "x_train.npy", np.asarray(x, order=order))
    np.save(tmp_path / "y_train.npy", label.numpy())
    first = (x[:, None] if len(shape) == 2 else np.moveaxis(x, 1 + shape.index(3), 1)).copy()
    rest, val = stratified(label, 0.2, seed=0)
    alone = tmp_path / "alone"
    alone.mkdir()
    for each in ("x_train", "y_train"):
        np.save(alone / f"{each.replace('train', 'test')}.npy", np.load(tmp_path / f"{each}.npy"))
        (tmp_path / f"{each}.npy").rename(alone / f"{each}.npy")
    packed = save(tmp_path, {file.stem: np.load(file) for file in alone.iterdir()})
    for path in (alone, packed):
        splits = source(path).load()
        for split, places in {"train": rest, "pretrain": rest, "val": val, "test": torch.arange(20)}.items():
            assert torch.equal(splits[split].data, torch.from_numpy(first)[places])
            assert torch.equal(splits[split].label, label[places])
            assert splits[split].data.is_contiguous()
        assert splits["train"].data is splits["pretrain"].data


def test_test_and_then_val_are_held_out_of_one_file(tmp_path) -> None:
    x = pixels(20, 8, 6)
    np.save(tmp_path / "x.npy", x)
    splits = source(tmp_path / "x.npy").load()
    first, test = stratified(torch.full((20,), -1), 0.2, seed=0)
    rest, val = stratified(torch.full((16,), -1), 0.2, seed=0)
    for split, places in {"train": first[rest], "val": first[val], "test": test}.items():
        assert np.array_equal(splits[split].data.numpy(), x[places.numpy()][:, None])


def test_one_bright_value_far_into_a_file_is_seen(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("ssl_runner.data.images.arrays.CHUNK_BYTES", 100)
    x = np.zeros((20, 8, 6), np.float32)
    x[17, 3, 3] = 2
    path = save(tmp_path, {"x_train": x, "x_test": x[:4]})
    with pytest.raises(ValueError, match="values from 0 to 2"):
        source(path, range=(0, 1)).load()


def test_the_spec_reads_no_image(tmp_path) -> None:
    arrays = {**plain(), "x_train": pixels(10, 80, 60, 3), "x_test": pixels(4, 80, 60, 3)}
    path = save(tmp_path, arrays)
    content = path.read_bytes()
    middle = content.index(arrays["x_train"].tobytes()) + 50_000
    path.write_bytes(content[:middle] + bytes(50) + content[middle + 50 :])  # its checksum is wrong now
    assert source(path).spec.height == 80
    with pytest.raises(ValueError, match="is damaged: Bad CRC-32"):
        source(path).load()


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was read",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_train": None, "own": np.zeros(2)}, "there is no x_train in it, only own, x_test, y_test, y_train"),
        ({"x_test": None}, "there is no x_test"),
        ({"y_test": None}, "there is no y_test; give labels for all splits or for none"),
        ({"x_train": np.zeros((10, 8, 6, 3), np.float32)}, "x_test is uint8 and x_train float32; they must be of one"),
        (
            {"x_train": np.zeros((10, 8, 6, 3)), "x_test": np.zeros((4, 8, 6, 3))},
            r"images are float32, whose range is not known: set dataset\.range",
        ),
        (
            {"x_train": np.zeros((10, 8, 6, 3), np.int16), "x_test": np.zeros((4, 8, 6, 3), np.int16)},
            "images are int16, whose range is not known",
        ),
        ({"x_train": np.zeros((10, 8, 6, 3), np.int64)}, "x_train is int64; images must be uint8, uint16, int16 or"),
        ({"x_test": np.zeros((4, 8, 6, 1), np.uint8)}, r"x_test are \(8, 6, 1\), those of x_train \(8, 6, 3\)"),
        ({"x_test": np.zeros((0, 8, 6, 3), np.uint8)}, "x_test is empty"),
        ({"y_train": np.zeros(9, np.int64)}, r"y_train is \(9,\) and x_train has 10 images"),
        ({"y_train": np.zeros((10, 2), np.int64)}, r"y_train is \(10, 2\)"),
        ({"y_train": np.zeros(10)}, r"y_train is float64; labels must be integers \(y\.astype\(int\)\) or strings"),
        (
            {"y_train": np.full(10, -1)},
            r"y_train goes down to -1; .* np\.unique\(y, return_inverse=True\)\[1\] numbers",
        ),
        (
            {"y_train": np.array([2**64 - 1, 1] * 5, np.uint64)},
            "y_train goes up to 18446744073709551615, which may be -1",
        ),
        ({"y_train": np.arange(10) % 2 * 1j}, "y_train is complex128; labels must be"),
        ({"y_train": np.int64(1)}, r"y_train is \(\) and x_train has 10 images"),
        ({"y_train": np.eye(10)[:, :4].astype(int)}, r"y_train is \(10, 4\) .*y\.argmax\(1\)"),
        ({"y_train": np.array(["a", "b"] * 5)}, "labels are strings in one split and integers in another"),
        ({"y_train": np.array(["a", ""] * 5), "y_test": np.array(["a"] * 4)}, r"y_train\[1\] is empty"),
        ({"y_train": np.array([b"a\xff", b"b"] * 5)}, r"y_train holds b'a\\xff', which is not UTF-8"),
        (
            {"y_train": np.array(["a", "b"] * 5), "y_test": np.array(["a", "B", "a", "b"])},
            "y_test has .* does not have: B",
        ),
        ({"y_train": np.array(["1", "01"] * 5), "y_test": np.array(["1"] * 4)}, "'01' and '1' are the same number"),
        (
            {"y_train": np.arange(10) % 2 * 100, "y_test": np.array([0, 100, 7, 0])},
            "y_test has .* y_train does not have: 7",
        ),
        ({"y_train": np.arange(10), "y_test": np.arange(4)}, "every label of y_train is unique"),
        ({"x_train": np.uint8(3)}, r"x_train is of shape \(\); it must be \(n, H, W\)"),
        ({"x_train": pixels(10, 0, 6, 3), "x_test": pixels(4, 0, 6, 3)}, r"\(0, 6, 3\): they have no pixels"),
        ({"label_names": np.array("cat,dog,owl")}, r"label_names is of shape \(\); it must be \(classes,\)"),
        ({"label_names": np.array([["a", "b", "c"]])}, r"label_names is of shape \(1, 3\)"),
        ({"label_names": np.array([1.5, 2, 3])}, "label_names is float64; names must be strings"),
        ({"label_names": np.array(["a", "b"])}, "labels up to 2, and 2 label_names"),
        ({"label_names": np.array([Trap()])}, "label_names is object: Python objects are not read"),
        ({"y_train": np.array([Trap()] * 10)}, "y_train is object"),
        ({"x_train": np.array([Trap()] * 10)}, "x_train is object"),
        ({"x_train": pixels(10, 8, 6, 4), "x_test": pixels(4, 8, 6, 4)}, r"\(8, 6, 4\); .*set dataset\.channel_axis"),
        (
            {"x_train": pixels(10, 3, 6, 3), "x_test": pixels(4, 3, 6, 3)},
            "the first or the last axis may be the channels",
        ),
        ({"x_train": pixels(10, 8), "x_test": pixels(4, 8)}, r"\(8,\); they must be"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # numpy's, of pickles that are written
def test_what_cannot_be_used_is_refused_by_check_and_spec(tmp_path, change, message: str) -> None:
    arrays = {name: array for name, array in {**plain(), **change}.items() if array is not None}
    own = source(save(tmp_path, arrays))
    for attempt in (own.check, own.load, lambda: own.spec):
        with pytest.raises(ValueError, match=r"dataset\.path .*" + message):
            attempt()


@pytest.mark.parametrize("content", [b"", b"no zip at all", b"PK\x03\x04 half a zip"])
def test_a_file_that_is_no_npz_is_refused(tmp_path, content: bytes) -> None:
    (tmp_path / "own.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"not a complete \.npz file"):
        source(tmp_path / "own.npz").check()


def test_a_truncated_file_is_refused(tmp_path) -> None:
    path = save(tmp_path, plain())
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"not a complete \.npz file"):
        source(path).check()


def test_a_missing_file_is_named(tmp_path) -> None:
    with pytest.raises(ValueError, match=rf"dataset\.path {tmp_path}/none\.npz is not there"):
        source(tmp_path / "none.npz").check()


def test_a_fraction_out_of_range_names_its_key() -> None:
    with pytest.raises(ValueError, match=r"dataset\.val_fraction is 0"):
        source(Path("own.npz"), val_fraction=0)


# ------------------------------------------------------------------------------------------------------- other values


def deep(dtype: str, high: float, *shape: int) -> np.ndarray:
    """Values from 0 to `high`, both among them."""
    x = np.random.default_rng(1).random(shape) * high
    x.flat[:2] = 0, high
    return x.round().astype(dtype) if np.dtype(dtype).kind in "iu" else x.astype(dtype)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 13])
@pytest.mark.parametrize(
    ("dtype", "high", "stated", "kept"),
    [
        ("uint8", 255, None, "uint8"),
        ("uint16", 65535, None, "uint16"),
        (">u2", 65535, None, "uint16"),
        ("uint16", 4095, [0, 4095], "uint16"),
        ("int16", 3000, [-1000, 3000], "int16"),
        ("float16", 1, [0, 1], "float32"),
        ("float32", 1, [0, 1], "float32"),
        ("float64", 2.5, [-2.5, 2.5], "float32"),
    ],
)
@pytest.mark.parametrize("axis", ["first", "last"])
def test_values_of_many_kinds_lie_in_their_range(tmp_path, channels, dtype, high, stated, kept, axis) -> None:
    """As input, each value is (value - black) / (white - black), by NumPy."""
    shape = (channels, 8, 6) if axis == "first" else (8, 6, channels)
    x = {"x_train": deep(dtype, high, 10, *shape), "x_test": deep(dtype, high, 4, *shape)}
    own = source(save(tmp_path, x), range=stated, channel_axis=axis)
    own.check()
    spec, data = own.spec, own.load()["test"].data
    assert (spec.channels, spec.height, spec.width, spec.stored) == (channels, 8, 6, kept)
    assert data.dtype == getattr(torch, kept)
    first = x["x_test"] if axis == "first" else x["x_test"].transpose(0, 3, 1, 2)
    low, white = stated or (0, high)
    wanted = (first.astype(np.float64) - low) / (white - low)
    np.testing.assert_allclose(spec.to_input(data).numpy(), wanted, atol=1e-6)
    assert np.array_equal(data.numpy(), first.astype(kept))  # `to_input` leaves stored values as they are
    fake = spec.fake(3)
    assert fake.dtype == data.dtype
    assert spec.to_input(fake).amax() <= 1
    assert spec.to_input(fake).std() > 0.2


def test_values_outside_of_the_range_are_refused_or_clipped(tmp_path) -> None:
    x = deep("float32", 2, 14, 8, 6, 3)
    path = save(tmp_path, {"x_train": x[:10], "x_test": x[10:]})
    with pytest.raises(ValueError, match=r"have values from 0 to 2, and dataset\.range is \[0, 1\]: widen it, or set"):
        source(path, range=[0, 1]).load()
    own = source(path, range=[0, 1], clip=True)
    assert own.spec.to_input(own.load()["test"].data).amax() == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_refused(tmp_path, value: float) -> None:
    x = deep("float32", 1, 14, 8, 6, 3)
    x[12, 0, 0, 0] = value
    with pytest.raises(ValueError, match="no finite numbers"):
        source(save(tmp_path, {"x_train": x[:10], "x_test": x[10:]}), range=[0, 1], clip=True).load()


def test_a_range_that_may_be_meant_otherwise_is_refused(tmp_path) -> None:
    x = deep("uint16", 4000, 14, 8, 6)
    path = save(tmp_path, {"x_train": x[:10], "x_test": x[10:]})
    with pytest.raises(ValueError, match=r"go up to 4000 of 65535, .* set dataset\.range .* such as \[0, 4095\], or"):
        source(path).load()
    assert source(path, range=[0, 65535]).load()["test"].data.dtype == torch.uint16
    with pytest.raises(ValueError, match=r"are of one shade in dataset\.range \[5000, 6000\]"):
        source(path, range=[5000, 6000], clip=True).load()
    for ends in ([1, 1], [2, 1]):
        with pytest.raises(ValueError, match=r"dataset\.range is .*; it must be \[black, white\]"):
            source(path, range=ends)


def test_a_stated_axis_settles_what_may_be_either(tmp_path) -> None:
    x = pixels(14, 3, 6, 3)
    path = save(tmp_path, {"x_train": x[:10], "x_test": x[10:]})
    assert source(path, channel_axis="first").spec.width == 3
    assert source(path, channel_axis="last").spec.width == 6
    with pytest.raises(ValueError, match=r"dataset\.channel_axis is middle; it must be first, last or null"):
        source(path, channel_axis="middle")


# ------------------------------------------------------------------------------------------------------------ npy files


def test_a_folder_of_npy_files_is_an_npz_file_unpacked(tmp_path) -> None:
    for name, array in plain().items():
        np.save(tmp_path / f"{name}.npy", array)
    packed, unpacked = source(save(tmp_path, plain())), source(tmp_path)
    assert unpacked.spec == packed.spec
    for (data, label), (other, its) in zip(unpacked.load().values(), packed.load().values(), strict=True):
        assert torch.equal(data, other)
        assert torch.equal(label, its)
    assert sorted(unpacked.contents()["path"]) == ["x_test.npy", "x_train.npy", "y_test.npy", "y_train.npy"]


def test_files_of_channels_first_are_memory_mapped(tmp_path) -> None:
    x = pixels(14, 3, 8, 6)
    for part, rows in {"train": x[:6], "val": x[6:10], "test": x[10:]}.items():
        np.save(tmp_path / f"x_{part}.npy", rows)
    before = (tmp_path / "x_train.npy").read_bytes()
    splits = source(tmp_path).load()
    x[0, 0, 0, 0] += 1
    np.lib.format.open_memmap(tmp_path / "x_train.npy", mode="r+")[0, 0, 0, 0] = x[0, 0, 0, 0]
    assert splits["train"].data[0, 0, 0, 0] == x[0, 0, 0, 0]  # it was not copied
    splits["train"].data[:] = 0
    assert len((tmp_path / "x_train.npy").read_bytes()) == len(before)
    assert (np.load(tmp_path / "x_train.npy") == x[:6]).all()  # nothing is written back


def test_one_npy_file_is_unlabeled_and_held_out_from(tmp_path) -> None:
    np.save(tmp_path / "x.npy", pixels(20, 8, 6))
    own = source(tmp_path / "x.npy")
    assert (own.spec.classes, own.spec.size, own.count()) == (0, 13, 13)
    splits = own.load()
    assert {name: len(part.label) for name, part in splits.items()} == {
        "pretrain": 13,
        "train": 13,
        "val": 3,
        "test": 4,
    }
    assert own.contents() == {"path": {"": tmp_path / "x.npy"}}


def test_a_damaged_npy_file_is_refused(tmp_path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, pixels(20, 8, 6))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"is not a complete \.npy file of plain arrays: x_train is truncated"):
        source(path).check()


def test_a_run_on_bands_of_floats_is_evaluated_and_exported(tmp_path) -> None:
    """From the file to the report: 5 channels from 0 to 10,000, classes by name."""
    x = deep("float32", 10_000, 60, 5, 8, 8)
    names = np.array(["sea", "town"])[np.arange(60) % 2]
    path = save(tmp_path, {"x_train": x[:40], "x_test": x[40:], "y_train": names[:40], "y_test": names[40:]})
    plain = compose([
        "dataset=arrays", f"dataset.path={path}", "dataset.range=[0,10000]", "dataset.channel_axis=first",
        "domain=bands", "objective=autoencoder", "backbone.widths=[4,8]", "batch_size=8", "budget.unit=steps",
        "budget.amount=2", "evaluation=[knn,reconstruction]", "controls=[pixels]", "logger=none",
        "trainer.accelerator=cpu", "trainer.precision=float32", "trainer.validations=0", f"output={tmp_path / 'out'}",
    ])  # fmt: skip
    folder = run(RunRequest.of(plain))
    evaluated = {(each.evaluator, each.subject) for each in read_result(folder).results}
    assert {("knn", "pretrained"), ("knn", "pixels"), ("reconstruction", "pretrained")} <= evaluated
    spec = exported_spec(folder / "encoder")
    assert isinstance(spec, ImageSpec)
    assert (spec.channels, spec.stored, spec.range, spec.class_names) == (5, "float32", (0, 10_000), ("sea", "town"))
    assert load_encoder(folder)(torch.rand(2, 5, 8, 8)).pooled.shape == (2, 8)
    assert "Images of 5 channels are drawn as the mean of their channels." in (folder / "report.html").read_text()


def with_boxes() -> dict[str, np.ndarray]:
    """The box of image i begins at i / 20, in both directions."""
    start = {"train": np.arange(10) / 20, "test": np.arange(4) / 20}
    return plain() | {f"boxes_{part}": np.stack([x, x, x + 0.5, x + 0.25], 1) for part, x in start.items()}


def test_boxes_stay_with_their_images(tmp_path: Path) -> None:
    """Through what is held out of train."""
    arrays = with_boxes()
    arrays["y_test"] = np.array([0, 1, 1, 0])
    arrays["boxes_train"][3, 2] = arrays["boxes_train"][3, 0]  # no area, as rounding may leave it
    for part, n in (("train", 10), ("test", 4)):
        arrays[f"x_{part}"][:, 0, 0, 0] = np.arange(n)
    found = source(save(tmp_path, arrays))
    assert isinstance(found, Boxed)
    assert found.spec.box_names == ("0", "1")
    splits = found.load()
    for part, examples in splits.items():
        boxes = found.boxes(part)
        number = examples.data[:, 0, 0, 0]
        assert boxes.image.tolist() == list(range(len(number)))
        assert torch.allclose(boxes.corners[:, 1], number / 20)
        assert torch.equal(boxes.label, examples.label)
        assert torch.equal(boxes.ignored, (number == 3) & (part not in ("test",)))
    assert sorted(splits["train"].data[:, 0, 0, 0].tolist() + splits["val"].data[:, 0, 0, 0].tolist()) == list(
        range(10)
    )


def test_boxes_without_labels_are_of_one_class(tmp_path: Path) -> None:
    arrays = {name: array for name, array in with_boxes().items() if not name.startswith("y_")}
    assert source(save(tmp_path, arrays)).spec.box_names == ("object",)
    none = source(save(tmp_path, plain()))
    assert none.spec.box_names == ()
    none.load()
    with pytest.raises(ValueError, match=r"has no boxes \(boxes_train, boxes_test\)"):
        none.boxes("test")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda b: None, "there is no boxes_test; give boxes for all splits or for none"),
        (lambda b: b[:, :3], r"boxes_test is \(4, 3\); it must be \(4, 4\), a box an image: left, top, right, bottom"),
        (
            lambda b: (8 * b).astype(int),
            r"boxes_test is int64; boxes must be floats in \[0, 1\]: left and right divided",
        ),
        (lambda b: b + 0.6, r"boxes_test\[0\] is .*, which lies outside of its image; boxes must be floats in"),
        (lambda b: b * np.nan, r"boxes_test\[0\] is .*, which lies outside of its image"),
        (lambda b: b[:, [2, 1, 0, 3]], r"boxes_test\[0\] is .*, which ends before it begins: the order is left, top"),
        (lambda b: b[:, [0, 1, 0, 3]], "no box of boxes_test has an area: the order is left, top, right, bottom"),
    ],
)
def test_wrong_boxes_are_refused(tmp_path: Path, change: Callable[[np.ndarray], np.ndarray | None], said: str) -> None:
    arrays = with_boxes()
    changed = change(arrays.pop("boxes_test"))
    with pytest.raises(ValueError, match=said):
        source(save(tmp_path, arrays if changed is None else arrays | {"boxes_test": changed})).check()
