"""Two processes with half a batch each take the step of one with all of it: every objective, in float64.

The same x and y are given to both, so that what is compared is `loss`, what it gathers, and `after_step`; dropout
is off. One pair of processes goes through all of them.
"""

import copy
import socket
import traceback
from datetime import timedelta
from pathlib import Path
from typing import Any, get_type_hints

import made_text
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import yaml
from torch import Tensor, nn

from ssl_runner import build
from ssl_runner.config import compose, conf_dir, locate, typed
from ssl_runner.interfaces import (
    EOS,
    PAD,
    Batch,
    BiCausalEncoder,
    CausalEncoder,
    ClipEncoder,
    CountEncoder,
    DataSpec,
    FrameEncoder,
    ImageSpec,
    Objective,
    PatchEncoder,
    TextSpec,
    TubeEncoder,
    VideoSpec,
    WordEncoder,
)
from ssl_runner.nn.synced_norm import SyncedBatchNorm, synced
from ssl_runner.objectives.contrastive_views import Origin

COUNT = 12  # examples of the whole batch; no other dimension of x or y is as long
BACKBONES: dict[type, list[str]] = {
    ClipEncoder: ["backbone=per_frame", "backbone.pool=lstm", "backbone.image.widths=[8,16]"],
    FrameEncoder: ["backbone=per_frame", "backbone.image.widths=[8,16]"],
    TubeEncoder: ["backbone=vivit_micro", "backbone.dim=24", "backbone.depth=1", "backbone.heads=2"],
    PatchEncoder: ["backbone=vit_micro", "backbone.dim=32", "backbone.depth=1", "backbone.heads=2"],
    CausalEncoder: ["backbone=gpt_tiny", "backbone.depth=1", "backbone.dropout=0"],
    BiCausalEncoder: ["backbone=bilstm", "backbone.width=16", "backbone.dropout=0"],
    WordEncoder: ["backbone=word_vectors", "backbone.width=16"],
    CountEncoder: ["backbone=ngram"],
}
SMALL = {  # what would be slow, or is as long as the batch
    "cpc": ["objective.patch=8", "objective.stride=2", "objective.jitter=0"],
    "denoising_text": ["objective.word_dropout=0"],
    "text_vae": ["objective.word_dropout=0"],
    "next_frame": ["backbone.pool=mean"],
    "exemplar_triplet": ["objective.ranks=all"],
    "moco": ["objective.queue=20"],
    "simclr": ["objective.ranks=all"],
    "glove": ["objective.entries=4096"],
}
RULES = sorted(path.stem for path in (conf_dir() / "objective" / "loss").glob("*.yaml"))
CASES: dict[str, list[str]] = {
    path.stem: [f"objective={path.stem}", *SMALL.get(path.stem, [])]
    for path in sorted((conf_dir() / "objective").glob("*.yaml"))
}
CASES |= {f"simclr with {rule}": [*CASES["simclr"], f"objective/loss={rule}"] for rule in RULES}
CASES |= {
    "simclr with labels": [*CASES["simclr"], "objective/positives=label", "objective/loss=supcon"],
    "simclr with clusters": [*CASES["simclr"], "objective/positives=pseudo_label", "objective.positives.clusters=3"],
    "simclr with a queue": [*CASES["simclr"], "objective.queue=20", "objective.hardness=2"],
    "simclr with few negatives": [*CASES["simclr"], "objective.queue=20", "objective.negatives=25"],
    "lifted with few negatives": [*CASES["simclr"], "objective/loss=lifted", "objective.negatives=7"],
    "simcse with lifted": [*CASES["simcse"], "objective/loss=lifted"],
    "bert with next sentence": [*CASES["bert"], "objective.next_sentence=1"],
    "mae with patches as they are": [*CASES["mae"], "objective.target=pixels"],
    "free holes": [*CASES["inpainting"], "objective.hole=free"],
    "skip_gram with softmax": [*CASES["skip_gram"], "objective/output=softmax"],
}
CANNOT = {  # name -> why; docs/scaling.md says so too
    "simclr with clusters": "a cluster that has run empty begins again at a random example, and the two draw others",
}


def spec_and_data(reads: type[DataSpec]) -> tuple[DataSpec, list[str], Tensor]:
    """What examples are, the config's part, and a batch as input. Texts end at different places, in the second half
    early: so the two processes weigh unequally."""
    if reads is TextSpec:
        text = TextSpec(length=25, vocabulary=40, counts=(0,) * 6 + tuple(range(1, 35)), size=64)
        data = text.fake(COUNT).long()
        data[:, 7::8] = EOS
        data[torch.arange(25) >= 25 - torch.arange(COUNT)[:, None]] = PAD
        return text, made_text.overrides(), data
    if reads is VideoSpec:
        clips = VideoSpec(frames=16, channels=3, height=16, width=16, classes=3, size=64)
        about = ["dataset=moving_digits", "dataset.colour=true", "dataset.frames=16", "dataset.side=16"]
        return clips, about, clips.to_input(clips.fake(COUNT))
    images = ImageSpec(channels=3, height=16, width=16, classes=3, size=64)
    return images, ["dataset=fake_images", "dataset.height=16", "dataset.width=16"], images.to_input(images.fake(COUNT))


def task(case: str) -> tuple[Objective, Any, Any]:
    """The objective, and x and y of the whole batch, by seeds."""
    torch.manual_seed(0)
    words = CASES[case]
    file = conf_dir() / "objective" / f"{words[0].partition('=')[2]}.yaml"
    hints = get_type_hints(locate(yaml.safe_load(file.read_text())["_target_"]).__init__)
    spec, about, data = spec_and_data(hints["spec"])
    usual = {
        TextSpec: ["backbone=bert_tiny", "backbone.depth=1", "backbone.dropout=0"],
        VideoSpec: BACKBONES[FrameEncoder],
        ImageSpec: ["backbone.widths=[8,16]"],
    }
    backbone = BACKBONES.get(hints["encoder"], usual[type(spec)])
    config = typed(compose(["evaluation=[]", "logger=none", *about, *backbone, *words]))
    objective = build.objective(config, spec).double()
    if isinstance(objective.encoder, CountEncoder):
        objective.encoder.float()
    x, y = objective.split(Batch(data, torch.arange(COUNT) // 5, torch.arange(COUNT)))
    return objective, mapped(x, doubled), mapped(y, doubled)


def mapped(part: Any, change: Any) -> Any:
    return change(part) if isinstance(part, Tensor) else type(part)(*map(change, part))


def doubled(value: Tensor) -> Tensor:
    return value.double() if value.is_floating_point() else value


def half(part: Any, number: int) -> Any:
    """The examples of one process: of each tensor, along the dimension that is as long as the batch; else all of it."""
    rows = slice(number * COUNT // 2, (number + 1) * COUNT // 2)

    def cut(value: Tensor) -> Tensor:
        if COUNT not in value.shape[:2]:
            return value
        return value[rows] if value.shape[0] == COUNT else value[:, rows]

    if isinstance(part, Origin) and part.priority.numel():  # (V * B, M), the views of one process after another
        views = torch.arange(part.source.numel()).view(-1, COUNT)
        own = [views[:, : COUNT // 2].flatten(), views[:, COUNT // 2 :].flatten()]
        far = torch.arange(views.numel(), part.priority.shape[1])
        part = part._replace(priority=part.priority[own[number]][:, torch.cat((*own, far))])
        return Origin(cut(part.source), cut(part.label), part.priority)
    return mapped(part, cut)


def step(objective: Objective, x: Any, y: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The gradients of one step, and the buffers after it."""
    loss = objective.loss(x, y)
    loss.value.backward()
    gradients = {name: p.grad for name, p in objective.named_parameters() if p.requires_grad}
    with torch.no_grad():
        objective.after_step(loss.carry, 0.5)
    return {"loss": loss.value.detach()} | gradients, dict(objective.named_buffers())


def work(number: int, port: int, folder: str) -> None:
    tasks = torch.load(Path(folder) / "tasks.pt", weights_only=False)
    address = f"tcp://127.0.0.1:{port}"
    dist.init_process_group("gloo", address, rank=number, world_size=2, timeout=timedelta(seconds=60))
    torch.set_num_threads(1)
    held: dict[str, Any] = {}
    for case, (objective, x, y) in tasks.items():
        try:
            synced(objective, torch.device("cpu"))
            gradients, buffers = step(objective, half(x, number), half(y, number))
            for gradient in gradients.values():
                dist.all_reduce(gradient)  # what DDP does
            held[case] = {name: gradient / 2 for name, gradient in gradients.items()}, buffers
        except Exception:  # is said by the test of the case
            held[case] = traceback.format_exc()
    torch.save(held, Path(folder) / f"{number}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def tasks() -> dict[str, tuple[Objective, Any, Any]]:
    return {case: task(case) for case in CASES}


@pytest.fixture(scope="module")
def pair(
    tasks: dict[str, tuple[Objective, Any, Any]], tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("pair")
    torch.save(tasks, folder / "tasks.pt")
    mp.spawn(work, args=(port, str(folder)), nprocs=2)
    return [torch.load(folder / f"{number}.pt") for number in range(2)]


@pytest.mark.parametrize("case", CASES)
def test_two_processes_take_the_step_of_one(
    case: str, tasks: dict[str, tuple[Objective, Any, Any]], pair: list[dict[str, Any]]
) -> None:
    gradients, buffers = step(*copy.deepcopy(tasks[case]))
    for number in range(2):
        assert not isinstance(pair[number][case], str), pair[number][case]
        theirs, state = pair[number][case]
        for name, ours in gradients.items():
            torch.testing.assert_close(theirs[name], ours, rtol=1e-5, atol=1e-9, msg=f"rank {number}: {name}")
        for name, value in buffers.items():
            if case not in CANNOT:
                torch.testing.assert_close(state[name], value, rtol=1e-5, atol=1e-9, msg=f"rank {number}: {name}")
    for name, value in pair[0][case][1].items():
        assert torch.equal(value, pair[1][case][1][name]), f"the two processes differ in {name}"


def test_the_two_would_differ_without_what_is_gathered(tasks: dict[str, tuple[Objective, Any, Any]]) -> None:
    """What the identity compares can fail: each half by itself, in one process, gives other gradients."""
    for case in ("simclr", "barlow_twins", "language_model", "swav"):
        whole, _ = step(*copy.deepcopy(tasks[case]))
        halves = []
        for number in range(2):
            objective, x, y = copy.deepcopy(tasks[case])
            halves.append(step(objective, half(x, number), half(y, number))[0])
        apart = [(a + b) / 2 for a, b in zip(halves[0].values(), halves[1].values(), strict=True)]
        assert not all(torch.allclose(a, b, rtol=1e-3) for a, b in zip(apart, whole.values(), strict=True)), case


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(3), nn.BatchNorm2d(3, affine=False), nn.BatchNorm1d(3, momentum=None)])
def test_one_process_keeps_its_batch_normalisation(norm: nn.Module) -> None:
    assert synced(norm, torch.device("cpu")) is norm
    x = torch.randn(4, 3, 5) if isinstance(norm, nn.BatchNorm1d) else torch.randn(4, 3, 5, 5)
    other = SyncedBatchNorm(norm)
    assert list(other.state_dict()) == list(norm.state_dict())
    torch.testing.assert_close(other(x), norm.eval()(x) if not norm.training else norm(x))
