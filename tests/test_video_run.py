"""Runs on videos, end to end."""

from pathlib import Path

import pytest
import torch
from findings import by_name
from made_video import write

from ssl_runner import load_encoder
from ssl_runner.commands import evaluate
from ssl_runner.commands.run import run
from ssl_runner.config.compose import compose
from ssl_runner.config.request import RunRequest
from ssl_runner.results.metrics import DataRef
from ssl_runner.results.result import read_result

REAL = Path(__file__).parents[2] / "shared" / "data" / "video"
SMALL = [
    "dataset=video_folder", "dataset.labels=none", "dataset.side=32", "dataset.frames=8", "dataset.stride=8",
    "dataset.val_fraction=0.25",
    "objective=next_frame", "objective.past=4", "objective.ahead=2", "objective.width=16",
    "objective.decoder_widths=[16,16]", "backbone=per_frame", "backbone.image.widths=[8,16]", "batch_size=8",
    "budget.unit=steps", "budget.amount=6", "trainer.validations=1", "trainer.precision=float32",
    "trainer.accelerator=cpu", "evaluation=[prediction,pretext,geometry]", "logger=csv",
]  # fmt: skip


def do(tmp_path: Path, videos: Path) -> Path:
    plain = compose([*SMALL, f"dataset.path={videos}", f"dataset.cache={tmp_path / 'cache'}", f"output={tmp_path}"])
    return run(RunRequest.of(plain))


def check(folder: Path, clips: int) -> None:
    result = read_result(folder)
    assert result.status == "done"
    assert sum(result.data[split] for split in ("train", "val", "test")) == clips
    found = {(each.evaluator, each.subject): by_name(each.metrics) for each in result.results}
    assert 0 < found["prediction", "pretrained"]["psnr_copy"] < 100
    assert {"loss", "previous"} <= set(found["pretext", "pretrained"])
    assert "data:image/gif;base64," in (folder / "report.html").read_text()
    assert load_encoder(folder)(torch.rand(2, 8, 3, 32, 32)).pooled.shape == (2, 16)


def test_videos_of_a_user(tmp_path: Path) -> None:
    for number in range(6):
        write(tmp_path / "videos" / f"{number}.mp4", 24)
    check(do(tmp_path, tmp_path / "videos"), clips=18)


@pytest.mark.thorough
def test_clips_with_labels_are_evaluated_as_images_are(tmp_path: Path) -> None:
    data = ["dataset=moving_digits", "dataset.clips=40", "dataset.val_clips=20", "dataset.test_clips=20"]
    words = [
        *data, "objective=cpc_video", "objective.block=4", "backbone=per_frame", "backbone.image.widths=[8,16]",
        "evaluation=[linear,knn,few_label,finetune,label_propagation]", "evaluation.few_label.fractions=[0.5,1.0]",
        "evaluation.finetune.recipe.epochs=1", "batch_size=8", "budget.unit=steps", "budget.amount=2",
        "trainer.validations=1", "trainer.precision=float32", "trainer.accelerator=cpu",
    ]  # fmt: skip
    plain = compose([*words, f"output={tmp_path}", "logger=csv"])
    folder = run(RunRequest.of(plain))
    found = {(each.evaluator, each.subject): by_name(each.metrics) for each in read_result(folder).results}
    for name in ("linear", "knn", "few_label", "finetune", "label_propagation"):
        assert {subject for evaluator, subject in found if evaluator == name} >= {"pretrained", "random_start"}
    assert {"j", "f", "j_first_mask_kept"} <= set(found["label_propagation", "pretrained"])
    evaluate.again(compose([f"run={folder}", *data, "dataset.label=place", "evaluation=[knn]"], "evaluate"))
    other = ["dataset=moving_mnist", "dataset.clips=9"]
    on = evaluate.merge(plain, compose([f"run={folder}", *other], "evaluate"), folder)[1]
    assert on == DataRef(dataset="moving_mnist", own=False, settings={"clips": 9})
    others = [each.on for each in read_result(folder).results if not each.on.own]
    assert others
    assert {(each.dataset, each.settings["label"], len(each.fingerprint)) for each in others} == {
        ("moving_digits", "place", 16)
    }


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the real clips are not in {REAL}")
def test_real_videos(tmp_path: Path) -> None:
    check(do(tmp_path, REAL), clips=sum(frames // 8 for frames in (72, 74, 48, 333, 132)))
