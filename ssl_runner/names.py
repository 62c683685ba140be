"""Names that last: what was called otherwise in older versions, and what a config lacks that one of them wrote.

Every config passes `current` before it is checked, hashed or compared: composed ones, a run's `config.yaml`, an
exported encoder's, a job's, and those in results. So a class can move, a key be renamed and a key be added, and older
runs are found, shown and gone on with as before.

Names are dotted: a class by its path; a key by the path of its class, or of its place in the root.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

TARGET = "_target_"  # the key of a class in a config

RENAMED: Mapping[str, str] = {  # older name -> the name that it has now; old names work until 1.0
    "ssl_runner.losses.contrastive.InfoNCE": "ssl_runner.losses.rules.InfoNCE",
    "ssl_runner.data.image_folder.ImageFolder.root": "ssl_runner.data.image_folder.ImageFolder.path",
    "ssl_runner.evaluation.label_propagation.LabelPropagation.context": (
        "ssl_runner.evaluation.label_propagation.LabelPropagation.before"
    ),
}

ADDED: Mapping[str, Any] = {  # key -> the value that runs had before there was such a key; no part of an identity
    "control": "none",
    "sweep": {
        "name": None, "params": None, "search": "grid", "trials": 20, "metric": "linear.accuracy[split=val]",
        "pruner": "median", "monitor": "val/knn_accuracy", "engine": "local", "jobs": None, "settings": None,
    },
    "trainer.monitor_examples": 0,
    "trainer.watch_every": 0,
    "trainer.early_stop": "none",
    "trainer.strategy": "ddp",
    "trainer.checkpoint_steps": None,
    "trainer.checkpoints": 1,
    "trainer.skip_nonfinite": 0,
    "torch.optim.Adagrad.fused": False,
    "ssl_runner.data.image_folder.ImageFolder.depth": None,
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
    "ssl_runner.data.web_shards.WebShards.depth": None,
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
    "ssl_runner.evaluation.few_label_finetune.FewLabelFineTune.views": None,
    "ssl_runner.evaluation.finetune.FineTune.views": None,
    "ssl_runner.evaluation.geometry.Geometry.spectrum": [4, 100],  # what these three are of was not measured
    "ssl_runner.evaluation.geometry.Geometry.views": 10,
    "ssl_runner.evaluation.geometry.Geometry.delta": 1.0e-4,
    "ssl_runner.evaluation.label_propagation.LabelPropagation.shown": "colour",
    # Texts were cut to the rows of pretraining, which of all these are the shorter.
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
}  # fmt: skip


def name_now(name: str) -> str:
    """What a class is called now.

    >>> name_now("ssl_runner.losses.contrastive.InfoNCE")
    'ssl_runner.losses.rules.InfoNCE'
    """
    for _ in RENAMED:  # one may have been renamed more than once
        name = RENAMED.get(name, name)
    return name


@lru_cache
def added(owner: str) -> Mapping[str, Any]:
    """The keys that a class, or a place in the root ("" is the root), did not always have: key -> value of before."""
    found = {}
    for name, value in ADDED.items():
        place, _, key = name.rpartition(".")
        if name_now(place) == owner:
            found[key_now(owner, key)] = value
    return found


def current(config: Mapping[str, Any]) -> dict[str, Any]:
    """A whole config as this version would have written it: names of now, and what it lacks as it was then."""
    return _current(config, "")


def current_node(node: Mapping[str, Any]) -> dict[str, Any]:
    """Likewise a node, with its `_target_`."""
    return _current(node, None)


def older_names(config: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """(older name, name of now) of all in a config that is called otherwise now."""
    if isinstance(config, Mapping):
        target = config.get(TARGET)
        owner = name_now(target) if isinstance(target, str) else place
        if isinstance(target, str) and owner != target:
            yield target, owner
        for key, value in config.items():
            if (now := key_now(owner, key)) != key:
                yield _joined(owner, key), _joined(owner, now)
            yield from older_names(value, _joined(owner, now))
    elif isinstance(config, list):
        for value in config:
            yield from older_names(value, place)


def _current(node: Mapping[str, Any], place: str | None) -> dict[str, Any]:
    """`place`: of a node without a class in the root; None: within a class, of which it is a plain value."""
    target = node.get(TARGET)
    owner = name_now(target) if isinstance(target, str) else place
    found: dict[str, Any] = {}
    for key, value in node.items():
        found[key if owner is None else key_now(owner, key)] = (
            owner if key == TARGET and isinstance(target, str) else _each(value, place, key)
        )
    if owner is not None:
        found |= {key: _each(value, None, key) for key, value in added(owner).items() if key not in found}
    return found


def key_now(owner: str, key: str) -> str:
    """What a key is called now, of a class, or of a place in the root, by its name of now."""
    keys = _renamed_keys(owner)
    for _ in keys:  # one may have been renamed more than once
        key = keys.get(key, key)
    return key


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
