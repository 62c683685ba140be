"""A run is its settings and what its files hold: with other files it is another, or refused; moved, the same."""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from small_runs import weights
from undrawn import undrawn

from ssl_runner.commands import evaluate
from ssl_runner.commands.run import run
from ssl_runner.config.compose import compose
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.identity import run_folder
from ssl_runner.config.request import RunRequest
from ssl_runner.config.schema import typed
from ssl_runner.reporting.comparison import compare
from ssl_runner.reporting.runs import find_runs
from ssl_runner.results.result import read_result, write_result
from ssl_runner.runtime import checkpoint_files

SMALL = [
    "logger=none", "budget.unit=steps", "budget.amount=3", "batch_size=16", "evaluation=[knn]", "controls=[]",
    "backbone.widths=[4,8]", "trainer.accelerator=cpu", "trainer.validations=0", "objective=rotation",
]  # fmt: skip
ARRAYS = ["dataset=arrays", "dataset.path=d.npz"]


@pytest.fixture(autouse=True)
def _undrawn() -> Iterator[None]:
    with undrawn():
        yield


def do(*words: str) -> Path:
    plain = compose([*SMALL, *words])
    return run(RunRequest.of(plain, list(words)))


def arrays(folder: Path, easy: bool) -> Path:
    """Two classes, told apart by half of the image, or by nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    y, x = np.arange(400) % 2, draw.integers(0, 60, (400, 16, 16), dtype=np.uint8)
    if easy:
        x[y == 1, :, :8] += 180
    np.savez(folder / "d.npz", x_train=x[:200], y_train=y[:200], x_test=x[200:], y_test=y[200:])
    return folder


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Any:
    return monkeypatch.chdir


def accuracy(folder: Path) -> float:
    (found,) = (each for each in read_result(folder).results if each.evaluator == "knn")
    return next(metric.value for metric in found.metrics if metric.name == "accuracy" and metric.split == "test")


def test_the_same_path_elsewhere_and_a_file_written_anew_are_other_runs(
    tmp_path: Path, at: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same words in two folders, and once more where the file has been replaced."""
    words = [*ARRAYS, f"output={tmp_path / 'out'}"]
    a, b = arrays(tmp_path / "a", easy=True), arrays(tmp_path / "b", easy=False)
    at(a)
    easy = do(*words)
    at(b)
    hard = do(*words)
    assert "finished before" not in capsys.readouterr().out
    assert easy != hard
    assert accuracy(easy) > 0.95
    assert accuracy(hard) < 0.8
    shutil.copy(b / "d.npz", a / "d.npz")
    at(a)
    assert do(*words) == hard  # the data are those of the second run now
    assert "finished before" in capsys.readouterr().out
    # They are two settings of a comparison, not two seeds of one.
    comparison = compare(find_runs([tmp_path / "out"])[0])
    assert [len(setting.runs) for setting in comparison.settings] == [1, 1]
    assert [axis.key for axis in comparison.axes] == ["dataset.path"]


def test_data_moved_unchanged_are_the_same_run(tmp_path: Path, at: Any, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*ARRAYS, f"output={tmp_path / 'out'}"]
    at(arrays(tmp_path / "a", easy=True))
    first = do(*words)
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "d.npz").rename(tmp_path / "b" / "other.npz")
    assert do(words[0], f"dataset.path={tmp_path / 'b' / 'other.npz'}", words[-1]) == first
    assert "finished before" in capsys.readouterr().out
    # ssl-evaluate, told where they are now, takes them for the run's own.
    asked = [f"run={first}", words[0], f"dataset.path={tmp_path / 'b' / 'other.npz'}", "evaluation=[linear]"]
    evaluate.again(compose([*asked, "controls=[]", "trainer.accelerator=cpu"], "evaluate"))
    assert {each.on.own for each in read_result(first).results} == {True}
    assert len({each.on.fingerprint for each in read_result(first).results}) == 1


def test_an_interrupted_run_goes_on_with_its_own_data_alone(
    tmp_path: Path, at: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*ARRAYS, f"output={tmp_path / 'out'}"]
    at(arrays(tmp_path / "a", easy=True))
    first = do(*words)
    (first / "result.json").unlink()
    capsys.readouterr()
    arrays(tmp_path / "a", easy=False)
    other = do(*words)
    assert other != first
    assert "resuming" not in capsys.readouterr().out
    # A checkpoint brought from another run's folder tells what it was made with.
    (other / "result.json").unlink()
    shutil.copy(first / "checkpoints" / "last.ckpt", other / "checkpoints" / "last.ckpt")
    with pytest.raises(ConfigError, match=r"dataset\.path: the files differ from those of '.*last\.ckpt'"):
        do(*words)
    assert do(*words, "resume=never") == other


def pictures(folder: Path, seed: int) -> None:
    draw = np.random.default_rng(seed)
    for kind in ("cats", "dogs"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for number in range(20):
            Image.fromarray(draw.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / kind / f"{number}.png")


def test_of_a_folder_what_is_read_counts_and_nothing_else(tmp_path: Path) -> None:
    words = ["dataset=image_folder", f"dataset.path={tmp_path / 'a'}", f"dataset.cache={tmp_path / 'cache'}"]
    words += ["dataset.size=16", "dataset.workers=1", f"output={tmp_path / 'out'}"]
    pictures(tmp_path / "a", 0)
    first = do(*words)
    (tmp_path / "a" / "notes.txt").write_text("what else lies there is no data")
    (tmp_path / "a" / ".hidden.png").write_text("")
    assert do(*words) == first
    shutil.move(tmp_path / "a", tmp_path / "b")
    assert do(*words, f"dataset.path={tmp_path / 'b'}") == first
    pictures(tmp_path / "a", 1)
    assert do(*words) != first
    (tmp_path / "b" / "cats" / "0.png").rename(tmp_path / "b" / "dogs" / "0-of-cats.png")
    assert do(*words, f"dataset.path={tmp_path / 'b'}") != first


def test_the_files_of_a_published_set_are_known_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where they lie is no setting; that they are others is refused, since the set's name says what they are."""

    def idx(array: np.ndarray) -> bytes:
        return b"\0\0\x08" + bytes([array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()

    def mnist(root: Path, seed: int) -> None:
        raw = root / "MNIST" / "raw"
        raw.mkdir(parents=True, exist_ok=True)
        draw = np.random.default_rng(seed)
        for part in ("train", "t10k"):
            (raw / f"{part}-images-idx3-ubyte").write_bytes(idx(draw.integers(0, 256, (60, 28, 28), dtype=np.uint8)))
            (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(60, dtype=np.uint8) % 10))

    words = ["dataset=mnist", "dataset.download=false", f"output={tmp_path / 'out'}"]
    mnist(tmp_path / "a", 0)
    first = do(*words, f"dataset.root={tmp_path / 'a'}")
    shutil.move(tmp_path / "a", tmp_path / "b")
    assert do(*words, f"dataset.root={tmp_path / 'b'}") == first
    assert "finished before" in capsys.readouterr().out
    mnist(tmp_path / "b", 1)
    refused = rf"dataset\.root: the files differ from those of the run in '{first}'; .* resume=never"
    with pytest.raises(ConfigError, match=refused):
        do(*words, f"dataset.root={tmp_path / 'b'}")
    (first / "result.json").unlink()
    with pytest.raises(ConfigError, match=refused):
        do(*words, f"dataset.root={tmp_path / 'b'}")
    assert do(*words, f"dataset.root={tmp_path / 'b'}", "resume=never") == first


def test_what_a_run_starts_from_counts_by_what_it_holds(tmp_path: Path) -> None:
    fake = ["dataset=fake_images", "dataset.examples=80", "dataset.height=8", "dataset.width=8"]
    words = [*fake, f"output={tmp_path / 'out'}"]
    starts = [do(*words, f"seed={seed}") for seed in (0, 1)]
    first = do(*words, "budget.amount=2", f"start_from={starts[0]}")
    shutil.copytree(starts[0] / "encoder", tmp_path / "moved")
    assert do(*words, "budget.amount=2", f"start_from={tmp_path / 'moved'}") == first
    shutil.rmtree(tmp_path / "moved")
    shutil.copytree(starts[1] / "encoder", tmp_path / "moved")
    other = do(*words, "budget.amount=2", f"start_from={tmp_path / 'moved'}")
    assert other != first
    assert weights(other) != weights(first)


def older(folder: Path, **changed: Any) -> Path:
    """A run's folder as an older version left it: another name, nothing of what files hold, fewer keys."""
    plain = yaml.safe_load((folder / "config.yaml").read_text())
    del plain["contents"], plain["control"], plain["trainer"]["strategy"]
    plain = {**plain, **changed}
    (folder / "config.yaml").write_text(yaml.safe_dump(plain, sort_keys=False))
    if (folder / "result.json").exists():
        result = read_result(folder)
        write_result(folder, replace(result, config=plain, identity="0123456789"))
    return folder.rename(folder.with_name("s0-0123456789"))


def test_a_finished_run_of_an_older_version_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["dataset=fake_images", "dataset.examples=80", "dataset.height=8", "dataset.width=8"]
    words.append(f"output={tmp_path}")
    before = older(do(*words))
    capsys.readouterr()
    assert do(*words) == before
    assert "finished before" in capsys.readouterr().out
    assert do(*words, "batch_size=8") != before
    (before / "result.json").unlink()  # it was interrupted: it goes on, and is found the same way afterwards
    assert do(*words) == before
    assert "resuming from step 3" in capsys.readouterr().out
    assert do(*words) == before
    assert "finished before" in capsys.readouterr().out


@pytest.mark.parametrize("ended", [True, False], ids=["finished", "interrupted"])
def test_a_run_whose_classes_have_moved_since_is_found(
    tmp_path: Path, at: Any, capsys: pytest.CaptureFixture[str], ended: bool
) -> None:
    """It knows what its files hold, but is called otherwise: by a hash of older names."""
    at(arrays(tmp_path / "a", easy=True))
    words = [*ARRAYS, f"output={tmp_path / 'out'}", "evaluation=[]"]
    folder = do(*words)
    if not ended:
        (folder / "result.json").unlink()
    file = folder / "config.yaml"
    file.write_text(file.read_text().replace("data.images.arrays", "data.arrays"))
    before = folder.rename(folder.with_name("s0-0123456789"))
    kept = (before / "config.yaml").read_text()
    for _ in range(2):  # it is found as what it was the second time too
        capsys.readouterr()
        assert do(*words) == before
        assert ("finished before" if ended else "resuming from step 3") in capsys.readouterr().out
        assert (before / "config.yaml").read_text() == kept
        if not ended:
            (before / "result.json").unlink()
    assert do(*words, "seed=1") != before
    arrays(tmp_path / "a", easy=False)
    assert do(*words) != before  # other data


def test_an_older_run_on_files_is_found_where_it_read_the_same(
    tmp_path: Path, at: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*ARRAYS, f"output={tmp_path / 'out'}"]
    at(arrays(tmp_path / "a", easy=True))
    before = older(do(*words))
    assert do(*words) == before
    arrays(tmp_path / "a", easy=False)
    capsys.readouterr()
    now = do(*words)
    said = capsys.readouterr().out.replace("\n", "")
    assert now != before
    assert "finished before" not in said
    assert f"note: '{before}' has the same settings, but other data" in said
    # One that was interrupted has no figure of its data: it is not gone on with.
    shutil.rmtree(now)
    arrays(tmp_path / "a", easy=True)
    (before / "result.json").unlink()
    assert do(*words) != before
    assert "resuming" not in capsys.readouterr().out


def test_evaluating_on_other_data_than_the_runs_is_said_and_stands_apart(
    tmp_path: Path, at: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    at(arrays(tmp_path / "a", easy=True))
    folder = do(*ARRAYS, f"output={tmp_path / 'out'}")
    known = accuracy(folder)
    arrays(tmp_path / "a", easy=False)
    evaluate.again(compose([f"run={folder}", "evaluation=[knn]", "controls=[]", "trainer.accelerator=cpu"], "evaluate"))
    assert "the data differ from those of the run" in capsys.readouterr().out.replace("\n", " ")
    found = [each for each in read_result(folder).results if each.evaluator == "knn"]
    assert [each.on.own for each in found] == [True, False]
    assert len({each.on.fingerprint for each in found}) == 2
    assert next(m.value for m in found[0].metrics if m.name == "accuracy" and m.split == "test") == known


def test_a_config_cannot_say_what_files_hold(tmp_path: Path, at: Any) -> None:
    """What a composed config says of contents is held against the files."""
    at(arrays(tmp_path / "a", easy=True))
    plain = compose([*SMALL, *ARRAYS, f"output={tmp_path / 'out'}"]) | {"contents": {"dataset.path": "0" * 16}}
    with pytest.raises(ConfigError, match=r"dataset\.path: the files differ from those that the run was planned with"):
        run(RunRequest.of(plain))


def test_no_path_of_a_machine_is_part_of_an_identity(tmp_path: Path, at: Any) -> None:
    at(arrays(tmp_path / "a", easy=True))
    folder = do(*ARRAYS, f"output={tmp_path / 'out'}", f"dataset.path={tmp_path / 'a' / 'd.npz'}")
    plain = yaml.safe_load((folder / "config.yaml").read_text())
    assert plain["contents"].keys() == {"dataset.path"}
    assert run_folder(typed(plain), plain) == folder
    plain["dataset"]["path"] = "/somewhere/else.npz"
    assert run_folder(typed(plain), plain) == folder
    (newest,) = [checkpoint_files.find(folder).newest]
    assert newest is not None
    assert newest.contents == plain["contents"]
    assert json.loads((folder / "result.json").read_text())["config"]["contents"] == plain["contents"]


def test_a_file_written_anew_with_the_same_length_and_time_is_read_anew(tmp_path: Path) -> None:
    """What was decoded of it before is not taken for it."""
    words = ["dataset=image_folder", f"dataset.path={tmp_path / 'a'}", f"dataset.cache={tmp_path / 'cache'}"]
    words += ["dataset.size=16", "dataset.workers=1", f"output={tmp_path / 'out'}"]
    pictures(tmp_path / "a", 0)
    for file in (tmp_path / "a").rglob("*.png"):
        Image.open(file).save(file.with_suffix(".bmp"))
        file.unlink()
        os.utime(file.with_suffix(".bmp"), ns=(10**18, 10**18))
    first = do(*words)
    for file in (tmp_path / "a").rglob("*.bmp"):
        file.write_bytes(file.read_bytes()[:-300] + os.urandom(300))
        os.utime(file, ns=(10**18, 10**18))
    other = do(*words)
    assert other != first
    assert read_result(other).data["fingerprint"] != read_result(first).data["fingerprint"]
