"""Backward compatibility of names: tables of renamed, moved and added classes and keys, and functions that apply them.

Every config passes `current` before it is checked, hashed or compared: composed ones, a run's `config.yaml`, an
exported encoder's, a job's, and those in results. So classes can move, and keys be renamed or added, and older runs are
still found, shown and resumed. Likewise the weights of encoders and checkpoints pass `tensors_now`.

Names are dotted: a class by its path; a key by the path of its class, or by its position in the root. A row for a
module applies to everything in it. A key that moved to a nested node is named with that node: "grid.steps".
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

TARGET = "_target_"  # the key of a class in a config

RENAMED: Mapping[str, str] = {  # older name -> current name; older names work until 1.0
    # modules, with everything in them, and classes
    "ssl_runner.losses.contrastive.InfoNCE": "ssl_runner.losses.rules.InfoNCE",
    "ssl_runner.data.arrays": "ssl_runner.data.images.arrays",
    "ssl_runner.data.correlated_gaussians": "ssl_runner.data.vectors.correlated_gaussians",
    "ssl_runner.data.davis": "ssl_runner.data.video.davis",
    "ssl_runner.data.fake": "ssl_runner.data.images.fake",
    "ssl_runner.data.image_folder": "ssl_runner.data.images.image_folder",
    "ssl_runner.data.known_images": "ssl_runner.data.images.known_images",
    "ssl_runner.data.known_text": "ssl_runner.data.text.known_text",
    "ssl_runner.data.known_videos": "ssl_runner.data.video.known_videos",
    "ssl_runner.data.mnist_5k": "ssl_runner.data.images.mnist_5k",
    "ssl_runner.data.moving_digits": "ssl_runner.data.video.moving_digits",
    "ssl_runner.data.moving_mnist": "ssl_runner.data.video.moving_mnist",
    "ssl_runner.data.text.TextFile": "ssl_runner.data.text.texts.TextFile",
    "ssl_runner.data.text.TextFolder": "ssl_runner.data.text.texts.TextFolder",
    "ssl_runner.data.text.TextTable": "ssl_runner.data.text.texts.TextTable",
    "ssl_runner.data.text.WikiSample": "ssl_runner.data.text.texts.WikiSample",
    "ssl_runner.data.text_pairs": "ssl_runner.data.text.text_pairs",
    "ssl_runner.data.video_folder": "ssl_runner.data.video.video_folder",
    "ssl_runner.data.web_shards": "ssl_runner.data.images.web_shards",
    "ssl_runner.evaluation.analogies": "ssl_runner.evaluation.text.analogies",
    "ssl_runner.evaluation.clustering": "ssl_runner.evaluation.any.clustering",
    "ssl_runner.evaluation.few_label": "ssl_runner.evaluation.any.few_label",
    "ssl_runner.evaluation.few_label_finetune": "ssl_runner.evaluation.any.few_label_finetune",
    "ssl_runner.evaluation.finetune": "ssl_runner.evaluation.any.finetune",
    "ssl_runner.evaluation.geometry": "ssl_runner.evaluation.any.geometry",
    "ssl_runner.evaluation.glue": "ssl_runner.evaluation.text.glue",
    "ssl_runner.evaluation.knn.NearestNeighbours": "ssl_runner.evaluation.any.knn.NearestNeighbors",
    "ssl_runner.evaluation.label_propagation": "ssl_runner.evaluation.video.label_propagation",
    "ssl_runner.evaluation.layers": "ssl_runner.evaluation.any.layers",
    "ssl_runner.evaluation.likelihood": "ssl_runner.evaluation.any.likelihood",
    "ssl_runner.evaluation.linear": "ssl_runner.evaluation.any.linear",
    "ssl_runner.evaluation.masked_words": "ssl_runner.evaluation.text.masked_words",
    "ssl_runner.evaluation.mutual_information": "ssl_runner.evaluation.any.mutual_information",
    "ssl_runner.evaluation.neighbours.Neighbours": "ssl_runner.evaluation.text.neighbors.Neighbors",
    "ssl_runner.evaluation.perplexity": "ssl_runner.evaluation.text.perplexity",
    "ssl_runner.evaluation.prediction": "ssl_runner.evaluation.video.prediction",
    "ssl_runner.evaluation.pretext": "ssl_runner.evaluation.any.pretext",
    "ssl_runner.evaluation.projection": "ssl_runner.evaluation.any.projection",
    "ssl_runner.evaluation.reconstruction": "ssl_runner.evaluation.images.reconstruction",
    "ssl_runner.evaluation.samples": "ssl_runner.evaluation.images.samples",
    "ssl_runner.evaluation.senses": "ssl_runner.evaluation.text.senses",
    "ssl_runner.evaluation.sentence_pair": "ssl_runner.evaluation.text.sentence_pair",
    "ssl_runner.evaluation.span_qa": "ssl_runner.evaluation.text.span_qa",
    "ssl_runner.evaluation.sts": "ssl_runner.evaluation.text.sts",
    "ssl_runner.evaluation.tagging": "ssl_runner.evaluation.text.tagging",
    "ssl_runner.evaluation.text_classification": "ssl_runner.evaluation.text.text_classification",
    "ssl_runner.evaluation.text_few_label": "ssl_runner.evaluation.text.text_few_label",
    "ssl_runner.evaluation.text_interpolation": "ssl_runner.evaluation.text.text_interpolation",
    "ssl_runner.evaluation.text_samples": "ssl_runner.evaluation.text.text_samples",
    "ssl_runner.evaluation.word_map": "ssl_runner.evaluation.text.word_map",
    "ssl_runner.evaluation.word_similarity": "ssl_runner.evaluation.text.word_similarity",
    "ssl_runner.losses.rules.SoftNearestNeighbours": "ssl_runner.losses.rules.SoftNearestNeighbors",
    "ssl_runner.objectives.bootstrap.Bootstrap": "ssl_runner.objectives.byol.BYOL",
    "ssl_runner.objectives.momentum_contrast.MomentumContrast": "ssl_runner.objectives.moco.MoCo",
    "ssl_runner.objectives.redundancy_reduction.RedundancyReduction": "ssl_runner.objectives.barlow_twins.BarlowTwins",
    "ssl_runner.objectives.self_distillation.SelfDistillation": "ssl_runner.objectives.dino.DINO",
    "ssl_runner.objectives.sentence_contrast.SentenceContrast": "ssl_runner.objectives.simcse.SimCSE",
    "ssl_runner.objectives.stop_gradient.StopGradient": "ssl_runner.objectives.simsiam.SimSiam",
    "ssl_runner.objectives.swapped_assignment.SwappedAssignment": "ssl_runner.objectives.swav.SwAV",
    "ssl_runner.objectives.variance_covariance.VarianceCovariance": "ssl_runner.objectives.vicreg.VICReg",
    "ssl_runner.optim": "ssl_runner.training.optim",
    # keys
    "evaluation/neighbours": "evaluation/neighbors",  # an option
    "evaluation.neighbours": "evaluation.neighbors",
    "ssl_runner.data.image_folder.ImageFolder.root": "ssl_runner.data.image_folder.ImageFolder.path",
    "ssl_runner.evaluation.label_propagation.LabelPropagation.context": (
        "ssl_runner.evaluation.label_propagation.LabelPropagation.before"
    ),
    "ssl_runner.data.video.moving_digits.MovingDigits.colour": "ssl_runner.data.video.moving_digits.MovingDigits.color",
    "ssl_runner.data.video.moving_mnist.MovingMNIST.colour": "ssl_runner.data.video.moving_mnist.MovingMNIST.color",
    "ssl_runner.losses.rules.NCE.log_normaliser": "ssl_runner.losses.rules.NCE.log_normalizer",
    "ssl_runner.objectives.dino.DINO.centre_momentum": "ssl_runner.objectives.dino.DINO.center_momentum",
    "ssl_runner.objectives.jigsaw.Jigsaw.grey": "ssl_runner.objectives.jigsaw.Jigsaw.gray",
    "ssl_runner.objectives.relative_position.RelativePosition.colour": (
        "ssl_runner.objectives.relative_position.RelativePosition.color"
    ),
    "ssl_runner.objectives.tracking_by_colorization.TrackingByColorization.colours": (
        "ssl_runner.objectives.tracking_by_colorization.TrackingByColorization.colors"
    ),
    "ssl_runner.views.image.ImageViews.grey": "ssl_runner.views.image.ImageViews.gray",
    "ssl_runner.views.pair.PairViews.grey": "ssl_runner.views.pair.PairViews.gray",
    "ssl_runner.views.video.ClipViews.grey": "ssl_runner.views.video.ClipViews.gray",
}  # fmt: skip

OLDER_KEYS = frozenset(  # last parts of older names of keys; names of classes begin with a capital
    older.rpartition(".")[2]
    for older, now in RENAMED.items()
    if older.rpartition(".")[0] == "evaluation" or older.rpartition(".")[0].rpartition(".")[2][:1].isupper()
)

RESPELLED: Mapping[str, Mapping[str, str]] = {  # key, by its current name -> older value -> current value
    "ssl_runner.evaluation.video.label_propagation.LabelPropagation.shown": {"grey": "gray", "colour": "color"},
    "ssl_runner.objectives.inpainting.Inpainting.hole": {"centre": "center"},
    "ssl_runner.objectives.mae.MAE.target": {"normalised": "normalized"},
    "ssl_runner.objectives.video_mae.VideoMAE.target": {"normalised": "normalized"},
    "ssl_runner.views.pair.PairViews.first": {"colour": "color"},
    "ssl_runner.views.pair.PairViews.second": {"colour": "color"},
}


class Nest(NamedTuple):
    """A nested node, and the keys that moved into it from the enclosing class."""

    target: str
    keys: tuple[str, ...]


GRID = Nest("ssl_runner.evaluation.any.logistic.Grid", ("learning_rates", "weight_decays", "steps", "batch_size"))
RECIPE = Nest(
    "ssl_runner.evaluation.any.tuning.Recipe", ("epochs", "least_steps", "batch_size", "learning_rate", "weight_decay")
)
LABELED = ("train", "val", "test", "separator", "label")
TEXTS = Nest("ssl_runner.evaluation.text.files.LabeledTexts", (*LABELED, "text"))
PAIRS = Nest("ssl_runner.evaluation.text.files.LabeledPairs", (*LABELED, "labels", "first", "second"))
SCORED = Nest("ssl_runner.evaluation.text.files.ScoredPairs", ("val", "test", "separator", "score", "first", "second"))
TAGGED = Nest("ssl_runner.evaluation.text.files.Splits", ("train", "val", "test"))
ARTICLES = Nest("ssl_runner.evaluation.text.files.Articles", ("train", "val", "test", "test_share", "split_seed"))
NESTED: Mapping[str, Mapping[str, Nest]] = {  # class, by its current name -> key of a node -> what moved into it
    "ssl_runner.evaluation.any.few_label.FewLabel": {"grid": GRID},
    "ssl_runner.evaluation.any.few_label_finetune.FewLabelFineTune": {"recipe": RECIPE},
    "ssl_runner.evaluation.any.finetune.FineTune": {"recipe": RECIPE},
    "ssl_runner.evaluation.any.layers.Layers": {"grid": GRID},
    "ssl_runner.evaluation.any.linear.LinearProbe": {"grid": GRID},
    "ssl_runner.evaluation.text.glue.GLUE": {"recipe": RECIPE},
    "ssl_runner.evaluation.text.sentence_pair.SentencePair": {"texts": PAIRS, "grid": GRID},
    "ssl_runner.evaluation.text.sentence_pair.SentencePairFineTune": {"texts": PAIRS, "recipe": RECIPE},
    "ssl_runner.evaluation.text.span_qa.SpanQA": {"texts": ARTICLES, "recipe": RECIPE},
    "ssl_runner.evaluation.text.span_qa.SpanQAFineTune": {"texts": ARTICLES, "recipe": RECIPE},
    "ssl_runner.evaluation.text.sts.SentenceSimilarity": {"texts": SCORED},
    "ssl_runner.evaluation.text.tagging.Tagging": {"texts": TAGGED, "grid": GRID},
    "ssl_runner.evaluation.text.tagging.TaggingFineTune": {"texts": TAGGED, "recipe": RECIPE},
    "ssl_runner.evaluation.text.text_classification.TextClassification": {"texts": TEXTS, "grid": GRID},
    "ssl_runner.evaluation.text.text_classification.TextClassificationFineTune": {"texts": TEXTS, "recipe": RECIPE},
    "ssl_runner.evaluation.text.text_few_label.TextFewLabel": {"texts": TEXTS, "grid": GRID},
}

NESTED_KEYS = frozenset(key for nests in NESTED.values() for nest in nests.values() for key in nest.keys)

TENSORS: Mapping[str, str] = {  # part of the dotted name of a weight or buffer -> its current name
    "centre": "center",
    "centres": "centers",
    "log_normaliser": "log_normalizer",
    "normalise": "normalize",
}

ADDED: Mapping[str, Any] = {  # key -> the value equivalent to earlier behavior; not part of an identity at this value
    "control": "none",
    "pretrain_examples": None,
    "yes": False,
    "sweep.ask": False,
    "extend": None,
    "sweep": {
        "name": None, "params": None, "search": "grid", "trials": 20, "metric": "linear.accuracy[split=val]",
        "pruner": "median", "monitor": "val/knn_accuracy", "ask": False, "engine": "local", "jobs": None,
        "settings": None,
    },
    "start_file": {"source": None, "license": None, "prefix": None, "matched": 1.0, "mean": None, "std": None},
    "trainer.monitor_examples": 0,
    "trainer.watch_every": 0,
    "trainer.early_stop": "none",
    "trainer.strategy": "ddp",
    "trainer.checkpoint_steps": None,
    "trainer.checkpoints": 1,
    "trainer.skip_nonfinite": 0,
    "trainer.chunk": None,
    "trainer.recompute": "none",
    "trainer.lr_batch": None,
    "trainer.layer_decay": 1.0,
    "trainer.weight_decay_end": None,
    "torch.optim.Adagrad.fused": False,
    "ssl_runner.backbones.resnet.ResNet.last_relu": True,
    "ssl_runner.backbones.resnet.ResNet.widening": 4,
    "ssl_runner.backbones.vit.ViT.drop_path": 0.0,
    "ssl_runner.backbones.vit.ViT.pool": "mean",
    "ssl_runner.data.arrays.Arrays.channel_axis": None,
    "ssl_runner.data.arrays.Arrays.clip": False,
    "ssl_runner.data.arrays.Arrays.range": None,
    "ssl_runner.data.arrays.Arrays.test_fraction": 0.2,
    "ssl_runner.data.image_folder.ImageFolder.bits": 8,
    "ssl_runner.data.image_folder.ImageFolder.depth": None,
    "ssl_runner.data.image_folder.ImageFolder.range": None,
    "ssl_runner.data.image_folder.ImageFolder.splits": "folders",
    "ssl_runner.data.known_text.KnownText.tokenizer": None,
    "ssl_runner.data.moving_digits.MovingDigits.overlap": "cover",
    "ssl_runner.data.moving_mnist.MovingMNIST.overlap": "cover",
    "ssl_runner.data.text.TextFile.tokenizer": None,
    "ssl_runner.data.text.TextFolder.splits": "folders",
    "ssl_runner.data.text.TextFolder.tokenizer": None,
    "ssl_runner.data.text.TextTable.tokenizer": None,
    "ssl_runner.data.text.WikiSample.tokenizer": None,
    "ssl_runner.data.video_folder.VideoFolder.splits": "folders",
    "ssl_runner.data.web_shards.WebShards.bits": 8,
    "ssl_runner.data.web_shards.WebShards.class_names": None,
    "ssl_runner.data.web_shards.WebShards.depth": None,
    "ssl_runner.data.web_shards.WebShards.range": None,
    "ssl_runner.loggers.wandb_run.WandbRun.examples": False,
    "ssl_runner.losses.rules.InfoNCE.prior": 0.0,
    "ssl_runner.losses.rules.InfoNCE.learn_temperature": False,
    "ssl_runner.objectives.contrastive_views.ContrastiveViews.positives": {
        TARGET: "ssl_runner.nn.positives.Augmentation",
    },
    "ssl_runner.objectives.contrastive_views.ContrastiveViews.similarity": "cosine",
    "ssl_runner.objectives.contrastive_views.ContrastiveViews.negatives": None,
    "ssl_runner.objectives.contrastive_views.ContrastiveViews.hardness": 0.0,
    "ssl_runner.objectives.contrastive_views.ContrastiveViews.queue": 0,
    "ssl_runner.objectives.contrastive_views.ContrastiveViews.ranks": "own",
    "ssl_runner.objectives.mae.MAE.mask": "random",
    "ssl_runner.objectives.mae.MAE.target": "pixels",
    "ssl_runner.objectives.self_distillation.SelfDistillation.exported": "student",
    "ssl_runner.objectives.supervised.Supervised.views": None,
    "ssl_runner.objectives.vae.VAE.posterior": {TARGET: "ssl_runner.losses.posteriors.Gaussian"},
    "ssl_runner.evaluation.few_label_finetune.FewLabelFineTune.views": None,
    "ssl_runner.evaluation.finetune.FineTune.views": None,
    "ssl_runner.evaluation.geometry.Geometry.spectrum": [4, 100],  # the metrics of these three keys are new
    "ssl_runner.evaluation.geometry.Geometry.views": 10,
    "ssl_runner.evaluation.geometry.Geometry.delta": 1.0e-4,
    "ssl_runner.evaluation.label_propagation.LabelPropagation.shown": "color",
    "ssl_runner.evaluation.any.tuning.Recipe.least_steps": 1,
    "ssl_runner.evaluation.any.tuning.Recipe.layer_decay": 1.0,
    "ssl_runner.training.optim.LARS.clip": False,
    "ssl_runner.objectives.barlow_twins.BarlowTwins.projector_norm": "batch",
    "ssl_runner.objectives.byol.BYOL.momentum_schedule": "cosine",
    "ssl_runner.objectives.byol.BYOL.projector_last_norm": "none",
    "ssl_runner.objectives.byol.BYOL.projector_norm": "batch",
    "ssl_runner.objectives.contrastive_views.ContrastiveViews.projector_last_norm": "none",
    "ssl_runner.objectives.contrastive_views.ContrastiveViews.projector_norm": "batch",
    "ssl_runner.objectives.dino.DINO.activation": "relu",
    "ssl_runner.objectives.dino.DINO.freeze_last": 0.0,
    "ssl_runner.objectives.dino.DINO.momentum_schedule": "cosine",
    "ssl_runner.objectives.dino.DINO.projector_norm": "batch",
    "ssl_runner.objectives.inpainting.Inpainting.clamp": False,
    "ssl_runner.objectives.inpainting.Inpainting.fooling": "minimax",
    "ssl_runner.objectives.mae.MAE.crop_scale": [1.0, 1.0],
    "ssl_runner.objectives.mae.MAE.flip": 0.0,
    "ssl_runner.objectives.moco.MoCo.momentum_schedule": "constant",
    "ssl_runner.objectives.moco.MoCo.predictor": [],
    "ssl_runner.objectives.moco.MoCo.predictor_last_norm": "none",
    "ssl_runner.objectives.moco.MoCo.projector_last_norm": "none",
    "ssl_runner.objectives.moco.MoCo.projector_norm": "none",
    "ssl_runner.objectives.moco.MoCo.symmetric": False,
    "ssl_runner.objectives.rotation.Rotation.turns": "one",
    "ssl_runner.objectives.simsiam.SimSiam.predictor_rate": "scheduled",
    "ssl_runner.objectives.simsiam.SimSiam.projector_last_norm": "batch",
    "ssl_runner.objectives.swav.SwAV.freeze_prototypes": 0.0,
    "ssl_runner.objectives.swav.SwAV.queue": 0,
    "ssl_runner.objectives.swav.SwAV.queue_start": 0.0,
    "ssl_runner.objectives.swav.SwAV.scale_prototypes": "read",
    "ssl_runner.objectives.vicreg.VICReg.projector_norm": "batch",
    "ssl_runner.evaluation.text.files.LabeledPairs.labels": "classes",
    # Before, texts were truncated to the length of pretraining, which is shorter than all of these.
    "ssl_runner.evaluation.glue.GLUE.length": 128,
    "ssl_runner.evaluation.senses.Senses.length": 64,
    "ssl_runner.evaluation.sentence_pair.SentencePair.length": 128,
    "ssl_runner.evaluation.sentence_pair.SentencePairFineTune.length": 128,
    "ssl_runner.evaluation.span_qa.SpanQA.length": 384,
    "ssl_runner.evaluation.span_qa.SpanQA.val": None,
    "ssl_runner.evaluation.span_qa.SpanQAFineTune.length": 384,
    "ssl_runner.evaluation.span_qa.SpanQAFineTune.val": None,
    "ssl_runner.evaluation.sts.SentenceSimilarity.length": 128,
    "ssl_runner.evaluation.tagging.Tagging.length": 128,
    "ssl_runner.evaluation.tagging.TaggingFineTune.length": 128,
    "ssl_runner.evaluation.text_classification.TextClassification.length": 256,
    "ssl_runner.evaluation.text_classification.TextClassificationFineTune.length": 256,
    "ssl_runner.evaluation.text_few_label.TextFewLabel.length": 256,
    "ssl_runner.evaluation.text_classification.TextClassificationFineTune.auxiliary": 0.0,
    "ssl_runner.evaluation.sentence_pair.SentencePairFineTune.auxiliary": 0.0,
    "ssl_runner.evaluation.tagging.TaggingFineTune.auxiliary": 0.0,
    "ssl_runner.evaluation.span_qa.SpanQAFineTune.auxiliary": 0.0,
}  # fmt: skip

UNTOLD = (
    frozenset(  # keys of ADDED, by their current names, that are not terms of a protocol (`Evaluator.presentation`)
        {"ssl_runner.evaluation.text.files.Articles.val"}
    )
)


def mentions_older(text: str) -> bool:
    """Whether a config, as text, may contain an older name or value. Quick; False means that it contains none."""
    values = (older for spellings in RESPELLED.values() for older in spellings)
    return any(name in text for name in (*RENAMED, *OLDER_KEYS, *values))


@lru_cache(4096)
def name_now(name: str) -> str:
    """The current name of a class or module.

    >>> name_now("ssl_runner.losses.contrastive.InfoNCE")
    'ssl_runner.losses.rules.InfoNCE'
    >>> name_now("ssl_runner.data.mnist_5k.MNIST5k")
    'ssl_runner.data.images.mnist_5k.MNIST5k'
    """
    for _ in RENAMED:  # one may have been renamed more than once
        older = next((head for head in _heads(name) if head in RENAMED), None)
        if older is None:
            break
        name = RENAMED[older] + name[len(older) :]
    return name


def _heads(name: str) -> Iterator[str]:
    """A dotted name and its prefixes, longest first."""
    while name:
        yield name
        name = name.rpartition(".")[0]


@lru_cache
def added(owner: str) -> Mapping[str, Any]:
    """The keys added to a class, or to a node of the root ("" is the root): key -> earlier value."""
    found = {}
    for name, value in ADDED.items():
        place, _, key = name.rpartition(".")
        held = held_now(name_now(place), key)
        if held.owner == owner:
            found[held.key] = value
    return found


def current(config: Mapping[str, Any]) -> dict[str, Any]:
    """A whole config as this version would write it: current names, and added keys at their earlier values."""
    return _current(config, "")


def current_node(node: Mapping[str, Any]) -> dict[str, Any]:
    """Like `current`, for a node with a `_target_`."""
    return _current(node, None)


def older_names(config: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """(older name, current name) of everything in a config that was renamed."""
    if isinstance(config, Mapping):
        target = config.get(TARGET)
        owner = name_now(target) if isinstance(target, str) else place
        if isinstance(target, str) and owner != target:
            yield target, owner
        for key, value in config.items():
            held, now = held_now(owner, key), key_now(owner, key)
            if now != key:
                yield _joined(owner, key), _joined(owner, now)
            if (spelled := value_now(held.owner, held.key, value)) != value:
                yield f"{_joined(owner, now)}={value}", f"{_joined(owner, now)}={spelled}"
            yield from older_names(value, _joined(owner, now))
    elif isinstance(config, list):
        for value in config:
            yield from older_names(value, place)


def _current(node: Mapping[str, Any], place: str | None) -> dict[str, Any]:
    """`place`: position in the root of a node without a class; None: a plain value of a class."""
    target = node.get(TARGET)
    owner = name_now(target) if isinstance(target, str) else place
    if owner is not None and _unchanged(owner):
        same = {key: _each(value, place, key) for key, value in node.items()}
        return same | ({TARGET: owner} if isinstance(target, str) else {})
    found: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = {}
    for key, value in node.items():
        if key == TARGET and isinstance(target, str):
            found[key] = owner
            continue
        if owner is None:
            found[key] = _each(value, place, key)
            continue
        held = held_now(owner, key)
        if held.node:
            nested.setdefault(held.node, {TARGET: held.owner})[held.key] = value
        else:
            found[held.key] = _each(value_now(owner, held.key, value), place, held.key)
    for key, values in nested.items():
        known = node.get(key)  # an older key that is set in addition takes precedence
        found[key] = _current(values if not isinstance(known, Mapping) else {**values, **known, **_plain(values)}, None)
    if owner is not None:
        found |= {key: _each(value, None, key) for key, value in added(owner).items() if key not in found}
    return found


@lru_cache(None)
def _unchanged(owner: str) -> bool:
    """Whether no key of a class, or of a node of the root, has been renamed, moved, added, or had values respelled."""
    respelled = any(name.rpartition(".")[0] == owner for name in RESPELLED)
    return not (_renamed_keys(owner) or NESTED.get(owner) or added(owner) or respelled)


def _plain(node: Mapping[str, Any]) -> dict[str, Any]:
    """A node without its `_target_`."""
    return {key: value for key, value in node.items() if key != TARGET}


class Held(NamedTuple):
    """The current owner of a key."""

    owner: str  # a class, or a position in the root
    key: str  # its name there
    node: str  # the key of its node within the earlier owner; "": the owner is unchanged


def held_now(owner: str, key: str) -> Held:
    """The current owner of a key of a class, or of a node of the root (by current name)."""
    keys = _renamed_keys(owner)
    for _ in keys:  # one may have been renamed more than once
        key = keys.get(key, key)
    for node, nest in NESTED.get(owner, {}).items():
        if key in nest.keys:
            return Held(nest.target, held_now(nest.target, key).key, node)
    return Held(owner, key, "")


def key_now(owner: str, key: str) -> str:
    """The current name of a key of a class, or of a node of the root (by current name); with the nested node that it
    moved to, if any: "grid.steps"."""
    held = held_now(owner, key)
    return f"{held.node}.{held.key}" if held.node else held.key


def value_now(owner: str, key: str, value: Any) -> Any:
    """The current spelling of a value of a key (by current name)."""
    spellings = RESPELLED.get(f"{owner}.{key}")
    return spellings.get(value, value) if spellings and isinstance(value, str) else value


def tensors_now(state: Mapping[str, Any]) -> dict[str, Any]:
    """Weights and buffers by their current names.

    >>> tensors_now({"encoder.normalise.mean": 0})
    {'encoder.normalize.mean': 0}
    """
    return {".".join(TENSORS.get(part, part) for part in name.split(".")): value for name, value in state.items()}


@lru_cache
def _renamed_keys(owner: str) -> Mapping[str, str]:
    found = {}
    for older, now in RENAMED.items():
        place, _, key = older.rpartition(".")
        if name_now(place) == owner:
            found[key] = now.rpartition(".")[2]
    return found


def _each(value: Any, place: str | None, key: str) -> Any:
    if isinstance(value, Mapping):
        return _current(value, None if place is None else _joined(place, key))
    return [_each(each, None, key) for each in value] if isinstance(value, list) else value


def _joined(owner: str, key: str) -> str:
    return f"{owner}.{key}" if owner else str(key)
