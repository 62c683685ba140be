"""A small task of every objective and of its main variants: an encoder, and x and y of one batch, by seeds."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any, get_type_hints

import made_text
import torch
import yaml
from composed import composed
from special_ids import EOS, PAD
from torch import Tensor

from ssl_runner.assembly import construct
from ssl_runner.config.fit import option_classes
from ssl_runner.config.paths import conf_dir
from ssl_runner.config.schema import typed
from ssl_runner.config.signatures import locate
from ssl_runner.interfaces import (
    Batch,
    BiCausalEncoder,
    CausalEncoder,
    ClipEncoder,
    CountEncoder,
    DataSpec,
    FrameEncoder,
    ImageSpec,
    MixtureEncoder,
    Objective,
    PatchEncoder,
    TextSpec,
    TubeEncoder,
    VectorSpec,
    VideoSpec,
    WordEncoder,
)
from ssl_runner.objectives.contrastive_views import Origin
from ssl_runner.training.optim import decay_groups

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
    MixtureEncoder: ["backbone=mixture", "backbone.components=3"],
}
SMALL = {  # what would be slow, or is as long as the batch
    "cpc": ["objective.patch=8", "objective.stride=2", "objective.jitter=0"],
    "denoising_text": ["objective.word_dropout=0"],
    "text_vae": ["objective.word_dropout=0"],
    "next_frame": ["backbone.pool=mean"],
    "exemplar_triplet": ["objective.ranks=all"],
    "moco": ["objective.queue=20"],
    "nnclr": ["objective.queue=20"],
    "simclr": ["objective.ranks=all"],
    "vq": ["objective.decoder_widths=[16,8]", "objective.codes=7"],
    "glove": ["objective.entries=4096"],
    "sum": ["objective.parts.simclr.ranks=all"],
}
TRAINED = [name for name, cls in option_classes("objective").items() if cls.trains]  # all but `none`
RULES = sorted(path.stem for path in (conf_dir() / "objective" / "loss").glob("*.yaml"))
CASES: dict[str, list[str]] = {name: [f"objective={name}", *SMALL.get(name, [])] for name in TRAINED}
CASES |= {f"simclr with {rule}": [*CASES["simclr"], f"objective/loss={rule}"] for rule in RULES}
CASES |= {
    "simclr with labels": [*CASES["simclr"], "objective/positives=label", "objective/loss=supcon"],
    "simclr with clusters": [*CASES["simclr"], "objective/positives=pseudo_label", "objective.positives.clusters=3"],
    "simclr with a queue": [*CASES["simclr"], "objective.queue=20", "objective.hardness=2"],
    "moco v3": [
        "objective=moco", "objective.queue=0", "objective.symmetric=true", "objective.predictor=[16]",
        "objective.projector_norm=batch", "objective.projector_last_norm=batch",
    ],
    "swav with a queue": [*CASES["swav"], "objective.queue=20", "objective.scale_prototypes=step"],
    "simclr with few negatives": [*CASES["simclr"], "objective.queue=20", "objective.negatives=25"],
    "lifted with few negatives": [*CASES["simclr"], "objective/loss=lifted", "objective.negatives=7"],
    "simcse with lifted": [*CASES["simcse"], "objective/loss=lifted"],
    "bert with next sentence": [*CASES["bert"], "objective.next_sentence=1"],
    "mae with patches as they are": [*CASES["mae"], "objective.target=pixels"],
    "free holes": [*CASES["inpainting"], "objective.hole=free"],
    "rotation on revnet": ["objective=rotation", "backbone=revnet14", "backbone.depth=26"],
    "sum by uncertainty": [
        "objective=sum",
        "objective/parts=[inpainting,moco,vae]",
        "objective.weighting=uncertainty",
        "objective.parts.moco.queue=20",
    ],
    "skip_gram with softmax": [*CASES["skip_gram"], "objective/output=softmax"],
    "gaussian_mixture with full covariances": [*CASES["gaussian_mixture"], "backbone.covariance=full"],
    "gaussian_mixture with mean_field": [*CASES["gaussian_mixture"], "objective/inference=mean_field"],
    **{
        f"{name} with {posterior}": [*CASES[name], f"objective/posterior={posterior}"]
        for name, posterior in product(("vae", "vector_vae"), ("mixture", "per_example", "score_function"))
    },
    **{
        f"gaussian_mixture with {inference}": [
            *CASES["gaussian_mixture"], f"objective/inference={inference}", "backbone=mixture_network",
            "backbone.widths=[8]", "backbone.components=3",
        ]
        for inference in ("amortized", "black_box")
    },
}  # fmt: skip
CASES |= {
    f"bert with {path.stem}": [*CASES["bert"], f"optimizer={path.stem}"]
    for path in sorted((conf_dir() / "optimizer").glob("*.yaml"))
}


def spec_and_data(reads: type[DataSpec], *, equal: bool) -> tuple[DataSpec, list[str], Tensor]:
    """What examples are, the config's part, and a batch as input. Texts end at different places, in the second half
    early: so the two processes weigh unequally; `equal`: they do not."""
    if reads is TextSpec:
        text = TextSpec(length=25, vocabulary=40, counts=(0,) * 6 + tuple(range(1, 35)), size=64)
        data = text.fake(COUNT).long()
        data[:, 7::8] = EOS
        if not equal:
            data[torch.arange(25) >= 25 - torch.arange(COUNT)[:, None]] = PAD
        return text, made_text.overrides(), data
    if reads is VectorSpec:
        vectors = VectorSpec(count=1, width=8, size=64)
        return vectors, ["dataset=linear_gaussian"], vectors.fake(COUNT)
    if reads is VideoSpec:
        clips = VideoSpec(frames=16, channels=3, height=16, width=16, classes=3, size=64)
        about = ["dataset=moving_digits", "dataset.color=true", "dataset.frames=16", "dataset.side=16"]
        return clips, about, clips.to_input(clips.fake(COUNT))
    images = ImageSpec(channels=3, height=16, width=16, classes=3, size=64)
    return images, ["dataset=fake_images", "dataset.height=16", "dataset.width=16"], images.to_input(images.fake(COUNT))


def made(case: str, *, norm: str = "batch", equal: bool = False) -> tuple[Objective, Batch]:
    """The objective in float32, and a batch as it reaches `split`. `norm`: of convolutional backbones; `equal`: texts
    are all of one length."""
    torch.manual_seed(0)
    words = CASES[case]
    file = conf_dir() / "objective" / f"{words[0].partition('=')[2]}.yaml"
    hints = get_type_hints(locate(yaml.safe_load(file.read_text())["_target_"]).__init__)
    spec, about, data = spec_and_data(hints["spec"], equal=equal)
    usual = {
        TextSpec: ["backbone=bert_tiny", "backbone.depth=1", "backbone.dropout=0"],
        VideoSpec: BACKBONES[FrameEncoder],
        ImageSpec: ["backbone.widths=[8,16]"],
        VectorSpec: ["backbone=mlp", "backbone.widths=[8,16]"],
    }
    named = any(word.startswith("backbone=") for word in words)
    backbone = [] if named else BACKBONES.get(hints["encoder"], usual[type(spec)])
    of = [word.partition("widths")[0] for word in backbone if "widths" in word and type(spec) is not VectorSpec]
    backbone = [*backbone, *(f"{key}norm={norm}" for key in of)]
    config = typed(composed(["evaluation=[]", "logger=none", *about, *backbone, *words]))
    other = None
    if locate(config.objective["_target_"]).reads_pairs:
        second = ImageSpec(channels=3, height=8, width=16)
        config.objective["other"].update(widths=[8, 16], norm=norm)
        spec, other = replace(spec, other=second), second.to_input(second.fake(COUNT))
    return construct.objective(config, spec), Batch(data, torch.arange(COUNT) // 5, torch.arange(COUNT), other)


def task(case: str, *, norm: str = "batch", equal: bool = False) -> tuple[Objective, Any, Any]:
    """The objective in float64, and x and y of the whole batch; settings as those of `made`."""
    objective, batch = made(case, norm=norm, equal=equal)
    objective.double()
    if isinstance(objective.encoder, CountEncoder):
        objective.encoder.float()
    x, y = objective.split(batch)
    return objective, mapped(x, doubled), mapped(y, doubled)


def mapped(part: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """`change` of each tensor of an x or y."""
    if isinstance(part, Tensor):
        return change(part)
    return of_same_type(part, [mapped(each, change) for each in part])


def of_same_type(part: tuple[Any, ...], values: list[Any]) -> Any:
    """A NamedTuple, or the tuple that a sum of objectives has, of other values."""
    return type(part)(*values) if hasattr(part, "_fields") else tuple(values)


def half(part: Any, number: int) -> Any:
    """Of an x or y of the whole batch, one half of the examples: of each tensor, along the dimension that is as long as
    the batch; else all of it."""
    rows = slice(number * COUNT // 2, (number + 1) * COUNT // 2)

    def cut(value: Tensor) -> Tensor:
        if COUNT not in value.shape[:2]:
            return value
        return value[rows] if value.shape[0] == COUNT else value[:, rows]

    if isinstance(part, Tensor):
        return cut(part)
    if not isinstance(part, Origin):
        return of_same_type(part, [half(each, number) for each in part])
    if part.priority.numel():  # (V * B, M), the views of one process after another
        views = torch.arange(part.source.numel()).view(-1, COUNT)
        own = [views[:, : COUNT // 2].flatten(), views[:, COUNT // 2 :].flatten()]
        far = torch.arange(views.numel(), part.priority.shape[1])
        part = part._replace(priority=part.priority[own[number]][:, torch.cat((*own, far))])
    return Origin(cut(part.source), cut(part.label), part.member[:, : COUNT // 2], part.priority)


def doubled(value: Tensor) -> Tensor:
    return value.double() if value.is_floating_point() else value


def optimizer_of(case: str, objective: Objective) -> torch.optim.Optimizer:
    """The one that the case names, else SGD."""
    chosen = [word for word in CASES[case] if word.startswith("optimizer=")] or ["optimizer=sgd"]
    node = yaml.safe_load((conf_dir() / "optimizer" / f"{chosen[0].partition('=')[2]}.yaml").read_text())
    return construct.construct(node, params=decay_groups(objective.groups()))
