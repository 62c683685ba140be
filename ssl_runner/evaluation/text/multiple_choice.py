"""Multiple choice: which of several endings goes on from a beginning.

n questions, C choices, B batch, T tokens.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from ssl_runner.evaluation.any.scores import accuracy, majority
from ssl_runner.evaluation.any.subject import TOLD, seeded
from ssl_runner.evaluation.any.tuning import Recipe, train
from ssl_runner.evaluation.text.data import Files, TextSet, cut_share, encode_texts, read_set, with_val
from ssl_runner.evaluation.text.files import OfFiles, Splits
from ssl_runner.evaluation.text.heads import check_auxiliary, check_enough, language_loss, outputs_of, start
from ssl_runner.evaluation.text.reading import named_text_layer, reading, text_encoder, text_spec
from ssl_runner.interfaces import Examples, Finding, Subject, TextSpec
from ssl_runner.results.metrics import Better, Metric, Protocol, share


@dataclass(frozen=True, kw_only=True)
class Choices(Splits):
    """Questions of C endings, one per line of .csv files with a header, as SWAG has them: columns by name."""

    label: str  # the place of the right ending among `endings`, from 0
    beginning: str
    endings: list[str]

    def read(self, key: str, files: Files) -> TextSet:
        """Texts (beginning, ending 0, ...) and the right one's place; with a val.

        Raises ValueError as `data.read_set` does, and for a label that is no place of an ending.
        """
        count = len(self.endings)
        if count < 2 or len(set(self.endings)) < count:
            raise ValueError(f"{key}.texts.endings is {list(self.endings)}; it must list two or more different columns")
        endings = {f"{key}.texts.endings[{place}]": name for place, name in enumerate(self.endings)}
        columns: dict[str, int | str] = {
            f"{key}.texts.label": self.label,
            f"{key}.texts.beginning": self.beginning,
            **endings,
        }
        found = read_set(files, columns, labels="classes", separator="comma")
        if found.classes != tuple(map(str, range(count))):
            raise ValueError(
                f"{files['train']} has the labels {', '.join(found.classes)} ({key}.texts.label); with {count} endings "
                f"they must be the places 0 to {count - 1}, each at least once"
            )
        return with_val(found)


class Choose(nn.Module):
    """(B, C, T) ids -> (B, C): a score of each choice, by a network of (B, T) ids with one output."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.network(x.flatten(0, 1))
        return scores.view(x.shape[:2])


class MultipleChoice(OfFiles):
    """Fine-tuning on questions with several endings: a copy of the encoder reads each as [CLS] beginning [SEP] ending
    [SEP], and a linear head gives it a score.

        loss = -log softmax(s_1, ..., s_C)[right]                                                   nats per question

    Zellers, Bisk, Schwartz, Choi 2018, "SWAG: A Large-Scale Adversarial Dataset for Grounded Commonsense Inference",
    https://arxiv.org/abs/1808.05326 (the form); Radford et al. 2018, section 3.3, and Devlin et al. 2019, section 4.4
    (the head). How: `text_heads.start`, `tuning.train`; nothing is chosen, "val" is reported. `auxiliary`: of a causal
    encoder, the weight of a language model's loss on the same texts (`text_heads.language_loss`). There is no bag of
    words. Metrics, in [0, 1], on test and val: accuracy; majority, that of the place that is right most often in
    train; chance, 1 / C.
    """

    pixels_are_control: ClassVar[bool] = False
    key: ClassVar[str] = "evaluation.multiple_choice"

    def __init__(
        self, *, path: str, texts: Choices, length: int, layer: str | int, auxiliary: float, recipe: Recipe
    ) -> None:
        self.layer = named_text_layer(f"{self.key}.layer", layer)
        check_auxiliary(self.key, auxiliary)
        self.auxiliary = auxiliary
        self.recipe = recipe
        self.recipe.check(f"{self.key}.recipe")
        super().__init__(path=path, texts=texts, length=length, least=5)
        self.texts = texts.read(self.key, self.files)

    def __call__(self, subject: Subject) -> Finding:
        spec, texts = text_spec(subject, self.length), self.texts
        examples = Examples(encode_choices(spec, texts.texts["train"]), texts.label["train"])
        check_enough(len(examples.label))
        encoder = copy.deepcopy(text_encoder(subject.encoder))
        also = language_loss(encoder, self.auxiliary) if self.auxiliary else None
        network = Choose(start(subject, encoder, self.layer, "text", examples.data.flatten(0, 1), 1))
        with seeded(subject.seed):
            of_all = None if also is None else lambda x: also(x.flatten(0, 1))
            train(network, spec, examples, self.recipe, subject.device, F.cross_entropy, also=of_all)
        metrics: list[Metric] = []
        for split in TOLD:
            label = texts.label[split]
            chosen = outputs_of(network, encode_choices(spec, texts.texts[split]), subject.device).argmax(dim=1)
            metrics += [
                share("accuracy", accuracy(chosen, label), split=split, headline=True),
                share("majority", majority(texts.label["train"], label), split=split, better=Better.NEITHER),
                share("chance", 1 / len(texts.classes), split=split, better=Better.NEITHER),
            ]
        measured = {
            **{f"{split} questions": len(label) for split, label in texts.label.items()},
            **reading(spec, cut_share(spec, as_pairs(texts.texts["test"]))),
            "seed": subject.seed,
        }
        terms = {"method": "fine-tuning of all weights, for choices", "files": texts.fingerprint}
        return Finding(metrics, Protocol(terms=terms, measured=measured))


def as_pairs(questions: Sequence[tuple[str, ...]]) -> list[tuple[str, str]]:
    """(n * C,): each beginning with each of its endings."""
    return [(beginning, ending) for beginning, *endings in questions for ending in endings]


def encode_choices(spec: TextSpec, questions: Sequence[tuple[str, ...]]) -> Tensor:
    """(n, C, T) int32."""
    return encode_texts(spec, as_pairs(questions)).unflatten(0, (len(questions), -1))
