"""A user's own texts with images."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Unpack

from torch import Tensor

from ssl_runner.data.pairs.captions import Captions, CaptionSettings
from ssl_runner.interfaces import Contents, DataSource, Examples, SplitName, TextSpec


class Illustrations(DataSource):
    """`captions.Captions` the other way round: encoders read the caption, and its image is the second view of it."""

    def __init__(
        self,
        *,
        path: str,
        folder: str | None,
        file_column: int | str,
        caption_column: int | str,
        label_column: int | str | None,
        **settings: Unpack[CaptionSettings],
    ) -> None:
        self.captions = Captions(
            path=path,
            folder=folder,
            file_column=file_column,
            caption_column=caption_column,
            label_column=label_column,
            **settings,
        )
        self._others: dict[SplitName, Tensor] = {}

    @property
    def spec(self) -> TextSpec:
        image = self.captions.image_spec
        text = replace(self.captions.text_spec, classes=image.classes, class_names=image.class_names, size=image.size)
        return replace(text, other=replace(image, classes=0, class_names=()))

    def check(self) -> None:
        self.captions.check()

    def contents(self) -> Contents:
        return self.captions.contents()

    def load(self) -> Mapping[SplitName, Examples]:
        images, texts = self.captions.both()
        self._others = {split: each.data for split, each in images.items()}
        return {split: Examples(texts[split], each.label) for split, each in images.items()}

    def others(self, split: SplitName) -> Tensor:
        return self._others[split]
