"""What SECURITY.md promises: each test is named there."""

import io
import os
import pickle
import re
import tarfile
import zipfile
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from ssl_runner import build, load_encoder
from ssl_runner.__main__ import main
from ssl_runner.commands import compare
from ssl_runner.commands.evaluate import finished_run
from ssl_runner.commands.run import run
from ssl_runner.config import ConfigError, compose, run_folder, typed
from ssl_runner.data import archives
from ssl_runner.data.archives import unpack
from ssl_runner.data.arrays import Arrays
from ssl_runner.data.known_images import KnownImages
from ssl_runner.data.known_videos import hmdb51, kinetics, ucf101
from ssl_runner.reporting.runs import find_runs
from ssl_runner.secrets import secrets_in
from ssl_runner.sweeps.job import work, write_job

SMALL = [
    "dataset=fake_images", "dataset.examples=40", "dataset.test_examples=20", "dataset.height=8", "dataset.width=8",
    "backbone.widths=[4,8]", "batch_size=8", "budget.unit=steps", "budget.amount=2", "evaluation=[knn]", "controls=[]",
    "trainer.accelerator=cpu", "trainer.validations=0", "trainer.watch_every=0", "objective=rotation",
]  # fmt: skip
EVIL = "<script>alert(1)<"  # without a slash: it has to be a folder's name


def plain(output: Path, *overrides: str) -> dict[str, Any]:
    return compose([*SMALL, "logger=csv", f"output={output}", *overrides])


def do(output: Path, *overrides: str) -> Path:
    words = plain(output, *overrides)
    return run(typed(words), words, list(overrides))


def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """What `ssl-run` says; it must refuse."""
    monkeypatch.setattr("sys.argv", ["ssl-run", *argv])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    return capsys.readouterr().err


class Boom:
    """What a pickle runs as it is read."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.proof),)


# -------------------------------------------------------------------------------------------------------------- pickles


def test_a_malicious_checkpoint_runs_nothing(tmp_path: Path) -> None:
    proof, words = tmp_path / "proof", plain(tmp_path)
    checkpoint = run_folder(typed(words), words) / "checkpoints" / "last.ckpt"
    checkpoint.parent.mkdir(parents=True)
    for write in (torch.save, lambda content, path: path.write_bytes(pickle.dumps(content, protocol=2))):
        for content in (Boom(proof), {"state_dict": Boom(proof), "global_step": 1, "budget": {"batches": 1}}):
            write(content, checkpoint)
            with pytest.raises(ConfigError, match="damaged"):
                do(tmp_path)
            with pytest.raises(ConfigError, match=r"last\.ckpt"):
                build.read_checkpoint(checkpoint, torch.nn.Identity())  # type: ignore[arg-type]
    assert not proof.exists()
    pickle.loads(pickle.dumps(Boom(proof)))
    assert proof.exists()  # it would have


def test_a_malicious_encoder_runs_nothing(tmp_path: Path) -> None:
    folder, proof = do(tmp_path / "out") / "encoder", tmp_path / "proof"
    weights, about = folder / "encoder.safetensors", folder / "config.yaml"
    whole, content = weights.read_bytes(), yaml.safe_load(about.read_text())
    for changed in (pickle.dumps(Boom(proof)), b"\x80\x04."):
        weights.write_bytes(changed)
        with pytest.raises((ValueError, ConfigError), match=r"encoder\.safetensors"):
            load_encoder(folder)
    weights.write_bytes(whole)
    command = {"_target_": "os.mkdir", "path": str(proof)}
    for node in (
        {**content, "backbone": command},
        {**content, "backbone": content["backbone"] | {"widths": command}},
        {**content, "backbone": {"_target_": "ssl_runner.backbones.per_frame.PerFrame", "image": command}},
        {**content, "backbone": {"_target_": "ssl_runner.sweeps.engines._Spawned", "command": ["true"], "log": "x"}},
        {**content, "spec": command},
    ):
        about.write_text(yaml.safe_dump(node))
        with pytest.raises(ValueError, match=r"config\.yaml"):
            load_encoder(folder)
    about.write_text(f"!!python/object/apply:os.mkdir ['{proof}']")
    with pytest.raises(ValueError, match=r"config\.yaml"):
        load_encoder(folder)
    assert not proof.exists()


def test_pickles_in_data_are_not_read(tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    pixels, evil = np.zeros((4, 8, 8), np.uint8), np.array([Boom(proof)] * 4, dtype=object)
    for arrays in ({"x_train": evil, "x_test": pixels}, {"x_train": pixels, "x_test": pixels, "label_names": evil}):
        np.savez(tmp_path / "evil.npz", **arrays)
        with pytest.raises(ValueError, match=r"evil\.npz"):
            Arrays(path=str(tmp_path / "evil.npz"), val_fraction=0.5, split_seed=0).load()
    batches = tmp_path / "cifar-10-batches-py"
    batches.mkdir()
    for name in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch", "batches.meta"):
        (batches / name).write_bytes(pickle.dumps(Boom(proof)))
    with pytest.raises(ValueError, match="damaged"):
        KnownImages(name="cifar10", root=str(tmp_path), download=False, val_fraction=0.5, split_seed=0).load()
    assert not proof.exists()


def test_yaml_tags_run_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    proof = tmp_path / "proof"
    evil = f"runs: !!python/object/apply:os.mkdir ['{proof}']"
    for name in ("config.yaml", "job.yaml", "sweep.yaml"):
        (tmp_path / name).write_text(evil)
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        finished_run(str(tmp_path))
    assert work(tmp_path / "job.yaml") == 2
    assert "job.yaml" in capsys.readouterr().err
    assert any("sweep.yaml" in problem for problem in find_runs([tmp_path])[1])
    assert not proof.exists()


# -------------------------------------------------------------------------------------------------------------- configs


@pytest.mark.parametrize(
    ("place", "target"),
    [
        *(
            (place, "os.mkdir")
            for place in (
                "objective", "objective.views", "backbone", "backbone.widths", "optimizer", "schedule", "dataset",
                "dataset.height", "evaluation.evil", "evaluation.knn.layer", "logger.evil", "logger.csv.context",
                "trainer", "trainer.compile", "budget", "sweep.settings", "domain", "start_from",
            )
        ),
        ("backbone", "ssl_runner.build.os.mkdir"), ("backbone", "ssl_runner.sweeps.engines._Spawned"),
        ("backbone", "ssl_runner.objectives.mae.MAE"), ("schedule", "torch.optim.SGD"),
        ("optimizer", "torch.optim.os.mkdir"), ("logger.evil", "ssl_runner.sweeps.job.Path"),
        ("objective", "ssl_runner.config.compose"), ("backbone", "ssl_runner.\0"),
    ],
)  # fmt: skip
def test_a_target_is_on_the_allowlist_and_where_it_belongs(tmp_path: Path, place: str, target: str) -> None:
    proof, words = tmp_path / "proof", plain(tmp_path)
    *above, last = place.split(".")
    node = words
    for key in above:
        node = node[key]
    node[last] = {"_target_": target, "path": str(proof), "command": ["mkdir", str(proof)]}
    if place in ("sweep.settings", "domain"):  # plain mappings, of which no object is made
        run(typed(words | {"check": True}), words, [])
    else:
        with pytest.raises(ConfigError, match=place.split(".")[0]):
            run(typed(words | {"check": True}), words, [])
    assert not proof.exists()
    with pytest.raises(ConfigError, match="_target_"):
        build.construct({"_target_": "os.mkdir", "path": str(proof)})


HANDLER = {"()": "os.mkdir", "path": "PROOF"}


def test_a_job_s_config_goes_through_the_same_gates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = plain(tmp_path / "out")
    proof = tmp_path / "proof"
    write_job(tmp_path / "job.yaml", words | {"objective": {"_target_": "os.mkdir", "path": str(proof)}}, [], "s", "a")
    assert work(tmp_path / "job.yaml") == 2
    assert "not allowed" in capsys.readouterr().err
    assert not proof.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"callbacks": {"x": {"_target_": "os.mkdir", "path": "PROOF"}}}, "hydra.callbacks"),
        ({"job_logging": {"version": 1, "root": {}, "formatters": {"a": HANDLER}}}, "logs"),
        ({"hydra_logging": {"version": 1, "root": {}, "formatters": {"a": HANDLER}}}, "logs"),
        ({"job": {"env_set": {"PYTHONPATH": "PROOF"}}}, "environment"),
        ({"sweeper": {"_target_": "os.mkdir"}}, "plugin"),
        ({"launcher": {"_target_": "os.mkdir"}}, "plugin"),
    ],
)  # fmt: skip
def test_hydra_runs_nothing_at_the_word_of_a_config(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    content: dict[str, Any],
    said: str,
) -> None:
    """A folder of configs from elsewhere, as an experiment."""
    proof, file = tmp_path / "proof", tmp_path / "configs" / "experiment" / "evil.yaml"
    file.parent.mkdir(parents=True)
    text = yaml.safe_dump({"hydra": content}).replace("PROOF", str(proof))
    file.write_text(f"# @package _global_\n{text}")
    words = ["--config-dir", str(tmp_path / "configs"), "experiment=evil", "check=true", f"output={tmp_path}"]
    for flags in ([], ["-m"]):
        assert said in refused(monkeypatch, capsys, *flags, *words)
    assert not proof.exists()


def test_a_pickle_of_hydra_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.pickle").write_bytes(pickle.dumps(Boom(tmp_path / "proof")))
    assert "pickle" in refused(monkeypatch, capsys, "--experimental-rerun", str(tmp_path / "config.pickle"))
    assert not (tmp_path / "proof").exists()


# ------------------------------------------------------------------------------------------------- archives and names


def tar(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def info(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


@pytest.mark.parametrize(
    "members",
    [
        [info("../evil")], [info("a/../../evil")], [info("evil", tarfile.SYMTYPE, "../../etc")],
        [info("evil", tarfile.SYMTYPE, "/etc/passwd")], [info("evil", tarfile.LNKTYPE, "../precious")],
        [info("evil", tarfile.CHRTYPE)], [info("evil", tarfile.BLKTYPE)], [info("evil", tarfile.FIFOTYPE)],
        [info("here", tarfile.SYMTYPE, ".."), info("here/evil")],
    ],
    ids=lambda members: f"{members[-1].name} {members[0].linkname} {members[0].type.decode()}",
)  # fmt: skip
def test_a_tar_stays_in_its_folder(tmp_path: Path, members: list[tarfile.TarInfo]) -> None:
    (tmp_path / "precious").write_text("stays")
    root = tmp_path / "root"
    root.mkdir()
    archive = tar(tmp_path / "set.tar.gz", *((member, b"") for member in members))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"set\.tar\.gz"):
        unpack(archive, root)
    assert sorted(tmp_path.iterdir()) == before
    assert not (root / "evil").exists()
    assert (tmp_path / "precious").read_text() == "stays"


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "C:/evil", "..\\evil"])
def test_a_zip_stays_in_its_folder(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16  # a symbolic link
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr(name, "evil")
        archive.writestr(link, "/etc/passwd")
    unpack(tmp_path / "set.zip", root)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["root", "set.zip"]
    assert not Path("/evil").exists()
    assert not (root / "link").is_symlink()


def test_bombs_are_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "FREE", 2**16)
    zeros = bytes(2**23)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", zeros)
    tar(tmp_path / "bomb.tar.gz", (info("zeros"), zeros))
    tar(tmp_path / "many.tar.gz", *((info(f"{n}"), b"") for n in range(20)))
    blank = np.zeros((2**13, 32, 32), np.uint8)
    np.savez_compressed(tmp_path / "bomb.npz", x_train=blank, x_test=blank[:1])
    for name in ("bomb.zip", "bomb.tar.gz"):
        with pytest.raises(ValueError, match=rf"{name} cannot be unpacked: it unpacks to"):
            unpack(tmp_path / name, tmp_path / "root")
    with pytest.raises(ValueError, match="it unpacks to"):
        Arrays(path=str(tmp_path / "bomb.npz"), val_fraction=0.5, split_seed=0).check()
    monkeypatch.setattr(archives, "MOST_MEMBERS", 10)
    with pytest.raises(ValueError, match="members"):
        unpack(tmp_path / "many.tar.gz", tmp_path / "root")


def test_lists_of_published_sets_name_no_file_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "evil.avi").write_bytes(b"")
    for name in ("ucfTrainTestlist", "testTrainMulti_7030_splits", "hmdb51_org", "annotations", "train"):
        (tmp_path / name).mkdir()
    (tmp_path / "ucfTrainTestlist" / "classInd.txt").write_text("1 ..\n")
    (tmp_path / "ucfTrainTestlist" / "trainlist01.txt").write_text("../v_.._g01_c01.avi 1\n")
    (tmp_path / "testTrainMulti_7030_splits" / "a_test_split1.txt").write_text("../../evil.avi 1\n")
    columns = "label,youtube_id,time_start,time_end\n"
    for part in ("train", "val"):
        (tmp_path / "annotations" / f"{part}.csv").write_text(f"{columns}a,../../evil,1,2\n")
    with pytest.raises(ValueError, match="no path within"):
        ucf101(tmp_path, 1)
    with pytest.raises(ValueError, match="no path within"):
        hmdb51(tmp_path, 1)
    assert kinetics(tmp_path, 1).train == []  # files are found by their names, not by paths


def test_names_in_a_config_are_no_paths(tmp_path: Path) -> None:
    words = plain(tmp_path / "out")
    words["names"] = {axis: "../../evil" for axis in ("dataset", "objective", "backbone")}
    folder = run_folder(typed(words), words)
    assert folder.parent.parent.resolve() == (tmp_path / "out").resolve()
    words["evaluation"] = {"../../evil": words["evaluation"]["knn"]}
    with pytest.raises(ConfigError, match="a name here may hold"):
        typed(words)


# -------------------------------------------------------------------------------------------------------------- pages


class Tags(HTMLParser):
    def __init__(self, page: Path) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.handlers: list[str] = []
        self.text = ""
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.handlers += [name for name, value in attrs if name.startswith("on") or "script:" in (value or "")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_pages_of_a_run_on_evil_names_run_no_script(tmp_path: Path) -> None:
    """Classes, overrides, a run's folder, a broken run are named as a script is. test_page.py has every field."""
    for name in (EVIL, '"><img src=x onerror=alert(1)>'):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(8):
            Image.new("RGB", (8, 8), (number, 0, 99)).save(tmp_path / "data" / name / f"{number}.png")
    output = tmp_path / f"{EVIL}javascript:alert(1)"
    words = [
        "dataset=image_folder", f"dataset.path={tmp_path / 'data'}", "dataset.size=8", "evaluation=[knn,projection]",
        f"dataset.cache={tmp_path / 'cache'}", "batch_size=4",
    ]  # fmt: skip
    config = compose([*SMALL[5:], *words, "logger=csv"])
    config["output"] = str(output)
    folder = run(typed(config), config, [f"output={output}", EVIL])
    (output / "broken").mkdir()
    (output / "broken" / "result.json").write_text(f'{{"schema": "{EVIL}"}}')
    assert compare.main([str(output), "--html", str(tmp_path / "all.html")]) == 0
    for page in (folder / "report.html", tmp_path / "all.html"):
        shown = Tags(page)
        assert "script" not in shown.tags
        assert not shown.handlers
        assert EVIL in shown.text


# ------------------------------------------------------------------------------------------------------------- secrets

KEY = "0123456789abcdef0123456789abcdef01234567"  # of wandb: 40 hexadecimal digits
SECRETS = {
    "WANDB_API_KEY": KEY, "HF_TOKEN": "hf_aaaabbbbccccddddeeeeffffgggghhhh",
    "DATABASE_PASSWORD": "correct horse battery", "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY",
}  # fmt: skip


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("environment")
def test_no_secret_of_the_environment_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file that a run leaves, in wandb's folder too."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    words = compose([*SMALL, "logger=[wandb,tensorboard]", f"output={tmp_path}"])
    folder = run(typed(words), words, [])
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"config.yaml", "result.json", "report.html", "metrics.csv", "status.json"} <= {path.name for path in files}
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    assert folder.is_dir()
    for path in files:
        content = path.read_bytes()
        for name, value in SECRETS.items():
            assert value.encode() not in content, f"{name} is in {path}"


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    "override",
    [
        f"logger.wandb.name={KEY}", f"logger.wandb.project=x{KEY}y", f"+logger.wandb.api_key={KEY}", f"seed={KEY}",
        "logger.wandb.name=${oc.env:WANDB_API_KEY}", "logger.wandb.tags=['${oc.env:DATABASE_PASSWORD}']",
        "'logger.wandb.name=correct horse battery'", "+notes.${oc.env:HF_TOKEN}=1",
        "dataset=webdataset dataset.train=http://me:secret@host/a.tar",
    ],
)  # fmt: skip
def test_a_secret_in_a_config_is_refused_and_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], override: str
) -> None:
    words = [word.strip("'") for word in (re.split(" (?=dataset)", override))]
    for flags in ([], ["-m"]):
        said = refused(monkeypatch, capsys, *flags, "logger=wandb", *words, f"output={tmp_path}")
        assert not any(value in said for value in (*SECRETS.values(), "me:secret"))
    assert not list(tmp_path.iterdir())


def test_what_looks_like_a_secret_is_one_without_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRETS:
        monkeypatch.delenv(name, raising=False)
    assert secrets_in({"logger": {"wandb": {"entity": KEY}}})[0].startswith("logger.wandb.entity looks like a secret")
    for text in (f"a={KEY}", "hf_" + "a" * 34, "ghp_" + "a" * 36, "AKIA" + "A" * 16, "s3://me:word@host/x"):
        assert secrets_in([text])
    for text in ("outputs/a1b2", KEY[:39], "https://host/a.tar", "objective.views.flip=0.5", "author@host"):
        assert not secrets_in([text])
