"""Few labels of a user's texts: the linear probe on small subsets of the training labels."""

from dataclasses import replace
from typing import ClassVar

from ssl_runner.evaluation.any.few_label import FewLabel
from ssl_runner.evaluation.any.logistic import Grid
from ssl_runner.evaluation.any.subject import FrozenSubject
from ssl_runner.evaluation.text.data import cut_share, encode_set
from ssl_runner.evaluation.text.files import PLACES, OfFiles, Table
from ssl_runner.evaluation.text.reading import BATCH, reading, text_spec
from ssl_runner.interfaces import Finding, Subject


class TextFewLabel(OfFiles, FewLabel):
    """`few_label.FewLabel` on texts from files: stratified, nested subsets of "train"; accuracy on "test" per subset.

    Files as in `text_classification.TextClassification`. Bag of words: the same probe on `controls.BagOfWords.pooled`.
    """

    presentation: ClassVar[frozenset[str]] = PLACES | FewLabel.presentation
    key: ClassVar[str] = "evaluation.text_few_label"

    def __init__(
        self,
        *,
        path: str,
        texts: Table,
        length: int,
        layer: str | int,
        fractions: list[float],
        per_class: list[int],
        grid: Grid,
    ) -> None:
        FewLabel.__init__(self, layer=layer, fractions=fractions, per_class=per_class, grid=grid)
        OfFiles.__init__(self, path=path, texts=texts, length=length, least=texts.least)
        self.texts = texts.read_classes(self.key, self.files)

    def __call__(self, subject: Subject) -> Finding:
        spec = text_spec(subject, self.length)
        texts = FrozenSubject(
            subject.encoder,
            encode_set(spec, self.texts),
            seed=subject.seed,
            device=subject.device,
            batch_size=BATCH,
        )
        found = FewLabel.__call__(self, texts)
        terms = {**found.protocol.terms, "files": self.texts.fingerprint}
        measured = {**found.protocol.measured, **reading(spec, cut_share(spec, self.texts.texts["test"]))}
        return found._replace(protocol=replace(found.protocol, terms=terms, measured=measured))
