"""Tags of single words, as parts of speech: any column of a CoNLL file."""

from collections import Counter
from typing import ClassVar

from ssl_runner.evaluation.any.logistic import Grid
from ssl_runner.evaluation.any.tuning import Recipe
from ssl_runner.evaluation.text.data import Files, fingerprint, read_conll
from ssl_runner.evaluation.text.files import Splits
from ssl_runner.evaluation.text.tagging import TaggedSet, Tagging, TaggingFineTune, with_val


class WordTags(Tagging):
    """`tagging.Tagging` with tags of any form, each of one word, such as parts of speech.

    Columns of the files are numbered from 0, or from the end: a word and its tag a line are 0 and -1, parts of speech
    of CoNLL-2003 are 0 and 1, of CoNLL-U 1 and 3. A tag that train does not have is always wrong; words beyond `length`
    get the most frequent tag of train. Metric: accuracy over all words, in [0, 1], on test and val.
    """

    key: ClassVar[str] = "evaluation.word_tags"

    def __init__(
        self,
        *,
        path: str,
        texts: Splits,
        word_column: int,
        tag_column: int,
        length: int,
        layer: str | int,
        grid: Grid,
    ) -> None:
        check_columns(self.key, word_column, tag_column)
        self.columns = word_column, tag_column
        super().__init__(path=path, texts=texts, length=length, layer=layer, grid=grid)

    def _sentences(self) -> TaggedSet:
        return read_tags(self.files, *self.columns)


class WordTagsFineTune(TaggingFineTune):
    """`tagging.TaggingFineTune` with the tags, columns and metric of `WordTags`."""

    key: ClassVar[str] = "evaluation.word_tags_finetune"

    def __init__(
        self,
        *,
        path: str,
        texts: Splits,
        word_column: int,
        tag_column: int,
        length: int,
        layer: str | int,
        auxiliary: float,
        recipe: Recipe,
    ) -> None:
        check_columns(self.key, word_column, tag_column)
        self.columns = word_column, tag_column
        super().__init__(path=path, texts=texts, length=length, layer=layer, auxiliary=auxiliary, recipe=recipe)

    def _sentences(self) -> TaggedSet:
        return read_tags(self.files, *self.columns)


def check_columns(key: str, word: int, tag: int) -> None:
    """Raise ValueError for one column that is asked for twice."""
    if word == tag:
        raise ValueError(f"{key}.word_column and tag_column are both {word}; they must be different columns")


def read_tags(files: Files, word: int, tag: int) -> TaggedSet:
    """Read all files. Raises ValueError as `data.read_conll` does, and where all words of train have one tag."""
    splits = {split: read_conll(path, word=word, tag=tag, entities=False) for split, path in files.items()}
    counts = Counter(each for tags in splits["train"].tags for each in tags)
    if len(counts) < 2:
        raise ValueError(f"{files['train']} has only the tag {min(counts)}; there is nothing to learn")
    known = sorted(counts)
    strange = sorted({each for found in splits.values() for tags in found.tags for each in tags} - set(known))
    filler = max(known, key=counts.__getitem__)
    return TaggedSet(with_val(splits), (*known, *strange), fingerprint(files.values()), filler, entities=False)
