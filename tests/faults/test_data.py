"""Files of a dataset that vanish, or are cut, while a run reads them."""

import multiprocessing
import signal
import tarfile
from io import BytesIO
from pathlib import Path

import made_text
import numpy as np
import pytest
from PIL import Image
from small_runs import in_batch, job_that_loses, place_of, weights

from ssl_runner.commands.run import run
from ssl_runner.commands.sweep import WORK
from ssl_runner.config.compose import compose
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.request import RunRequest
from ssl_runner.runtime import checkpoint_files
from ssl_runner.runtime.job_file import write_job

USUAL = [
    "evaluation=[]", "controls=[]", "logger=csv", "trainer.accelerator=cpu", "trainer.precision=float32",
    "trainer.checkpoint_steps=1",
]  # fmt: skip


def shards(root: Path) -> list[str]:
    """Four shards of ten gray images to train on, and the config's words for them."""
    for name in ("train-0", "train-1", "train-2", "train-3", "val", "test"):
        with tarfile.open(root / f"{name}.tar", "w") as archive:
            for place in range(10):
                out = BytesIO()
                Image.fromarray(np.full((8, 8, 3), 20 * place, np.uint8)).save(out, "png")
                for suffix, content in (("png", out.getvalue()), ("cls", b"0")):
                    member = tarfile.TarInfo(f"{name}-{place}.{suffix}")
                    member.size = len(content)
                    archive.addfile(member, BytesIO(content))
    return [
        "dataset=webdataset", f"dataset.train='{root}/train-{{0..3}}.tar'", f"dataset.val={root}/val.tar",
        f"dataset.test={root}/test.tar", "dataset.classes=1", "dataset.size=8", "dataset.streams=1", "dataset.buffer=2",
        "dataset.most=10", "dataset.workers=1", "batch_size=4", "objective=autoencoder", "backbone.widths=[4,8]",
        "budget.unit=steps", "budget.amount=16", *USUAL,
    ]  # fmt: skip


@pytest.mark.parametrize("cut", [False, True], ids=["vanished", "cut"])
@pytest.mark.sampled(1)
def test_a_shard_that_is_lost_ends_the_run_and_mended_it_goes_on(tmp_path: Path, cut: bool) -> None:
    words = shards(tmp_path)

    def do(output: str) -> Path:
        plain = compose([*words, f"output={tmp_path / output}"])
        return run(RunRequest.of(plain))

    whole = do("whole")
    contents = {path: path.read_bytes() for path in tmp_path.glob("train-*.tar")}

    def lose(_: object) -> None:
        for path, content in contents.items():
            path.unlink()
            if cut:
                path.write_bytes(content[:700])

    with in_batch(2, lose), pytest.raises(ConfigError) as refused:
        do("out")
    (message,) = refused.value.problems
    assert ".tar' cannot be read to its end: " in message
    assert ("unexpected end of data" if cut else "No such file or directory") in message
    (folder,) = (tmp_path / "out").glob("*/*")
    step = checkpoint_files.find(folder).newest.step
    assert 1 < step < 16
    assert message.endswith(f"step {step} is saved; the same command resumes from there")
    for path, content in contents.items():
        path.write_bytes(content)
    assert weights(do("out")) == weights(whole)


@pytest.mark.parametrize("vanish", [True, False], ids=["vanished", "cut"])
def test_a_mapped_file_that_is_lost(tmp_path: Path, vanish: bool) -> None:
    """What is mapped stays readable when its name is gone; when it is cut, the system ends the process (SIGBUS)."""
    plain = compose([
        *made_text.overrides(), f"dataset.cache={tmp_path / 'cache'}", "objective=bert", "backbone=bert_tiny",
        "backbone.depth=1", "backbone.dim=32", "backbone.heads=2", "batch_size=16", "budget.unit=steps",
        "budget.amount=8", *USUAL, f"output={tmp_path / 'out'}",
    ])  # fmt: skip
    whole = {**plain, "output": str(tmp_path / "whole")}
    place = run(RunRequest.of(whole))
    file, log = tmp_path / "job.yaml", tmp_path / "log.txt"
    write_job(file, RunRequest.of(plain))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([WORK.preload])
    process = context.Process(target=job_that_loses, args=(str(file), str(log), str(tmp_path / "cache"), vanish))
    process.start()
    process.join(300)
    folder = place_of(plain)
    assert process.exitcode == (0 if vanish else -signal.SIGBUS), log.read_text()
    if not vanish:
        assert checkpoint_files.find(folder).newest.step == 3
        run(RunRequest.of(plain))
    assert weights(folder) == weights(place)
