"""A tokenizer that is laid out as BERT's published one is: special ids apart from each other, no end of a sentence."""

import string
from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from ssl_runner.interfaces import SpecialTokens

IDS = SpecialTokens(pad=0, unk=100, cls=101, sep=102, mask=103, eos=None)
WORDS = tuple(
    "the a cat dog sat ran on mat good bad nice awful film was in works at gold lies it who what".split()  # noqa: SIM905
)


def tokenizer(more: Iterable[str] = ()) -> Tokenizer:
    """It knows letters, WORDS and `more` words."""
    marks = [c for c in string.printable if not c.isspace() and not c.isupper()]
    names = ["[PAD]", *(f"[unused{n}]" for n in range(99)), "[UNK]", "[CLS]", "[SEP]", "[MASK]", *marks]
    names += [f"##{c}" for c in string.ascii_lowercase + string.digits] + sorted(
        {word for word in (*WORDS, *more) if len(word) > 1}
    )
    made = Tokenizer(models.WordPiece({name: place for place, name in enumerate(names)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece(prefix="##")
    made.post_processor = processors.BertProcessing(("[SEP]", 102), ("[CLS]", 101))
    made.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    return made
