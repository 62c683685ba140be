"""Tokenizers, trained by the `tokenizers` library."""

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from ssl_runner.interfaces import SpecialTokens

Tokens = Literal["words", "wordpiece", "bpe", "characters"]
Words = Literal["marks", "spaces"]

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[EOS]")  # of a vocabulary learned here, from id 0 on
UNK_NAME = "[UNK]"
ROLES: Mapping[str, tuple[str, ...]] = {  # what published vocabularies call them: as BERT's, as RoBERTa's
    "pad": ("[PAD]", "<pad>"),
    "unk": ("[UNK]", "<unk>"),
    "cls": ("[CLS]", "<s>"),
    "sep": ("[SEP]", "</s>"),
    "mask": ("[MASK]", "<mask>"),
    "eos": ("[EOS]",),
}
BYTES = 256  # the least that bpe knows
LETTER = r"[\w\u200c\u200d]"  # with combining marks and joiners, which are within words of many scripts
MARKS = rf"(?<={LETTER})['’]{LETTER}+|{LETTER}+|[^\w\s]"  # runs of them, what an apostrophe begins, each other mark
UNKNOWN = "<unk>"  # what published texts write for a rare word
_NAMES = Regex(r"\[(?:" + "|".join(name[1:-1] for name in SPECIAL) + r")\]")


def least_vocabulary(tokens: Tokens) -> int:
    """The smallest vocabulary: special tokens and one token; for bpe all bytes."""
    return len(SPECIAL) + (BYTES if tokens == "bpe" else 1)


class CutSettings(TypedDict):
    """Settings of tokenization and held-out fractions of every dataset of text."""

    length: int
    tokens: Tokens
    vocabulary: int
    lowercase: bool
    tokenizer: str | None
    test_fraction: float
    val_fraction: float
    split_seed: int


def check_cut(settings: CutSettings) -> None:
    """Raise ValueError for values that are invalid for any text."""
    for name, fraction in (("test_fraction", settings["test_fraction"]), ("val_fraction", settings["val_fraction"])):
        if not 0 < fraction < 1:
            raise ValueError(f"dataset.{name} is {fraction}; it must lie in (0, 1)")
    tokens, least = settings["tokens"], least_vocabulary(settings["tokens"])
    if settings["vocabulary"] < least:
        what = f"{BYTES} bytes" if tokens == "bpe" else "one token"
        raise ValueError(
            f"dataset.vocabulary is {settings['vocabulary']}; with dataset.tokens={tokens} it must be {least} or more: "
            f"{len(SPECIAL)} special tokens and {what}"
        )


def tokenizer_path(settings: CutSettings) -> Path | None:
    """The path of the given tokenizer."""
    given = settings["tokenizer"]
    return None if given is None else Path(given).expanduser().absolute()


def count_words(lines: Sequence[str], words: Words) -> int:
    """The number of words of lines, independent of the tokenizer: by the rule of `train_tokenizer`, in Unicode NFC."""
    counter = Tokenizer(models.WordLevel({UNK_NAME: 0}, unk_token=UNK_NAME))  # every word is one token
    counter.normalizer = normalizers.NFC()
    counter.pre_tokenizer = _pre_tokenizer("words", words)
    return sum(len(line.ids) for line in counter.encode_batch_fast(list(lines), add_special_tokens=False))


def train_tokenizer(lines: Iterable[str], *, tokens: Tokens, words: Words, vocabulary: int, lowercase: bool) -> str:
    """Train a tokenizer with at most `vocabulary` ids, special ones first: JSON of the `tokenizers` library.

    tokens  words       the most frequent words; others are UNK
            wordpiece   pieces of words, those within a word written "##s" (Schuster, Nakajima 2012; as BERT's)
            bpe         pairs of bytes joined, a space before a word part of it (Sennrich, Haddow, Birch 2016,
                        https://arxiv.org/abs/1508.07909; of bytes as GPT-2's): nothing is UNK
            characters  the most frequent characters
    words   marks       what a word is to `words` and `wordpiece`: `MARKS`; spaces: what stands between spaces

    Text never makes a special id but UNK: a text that says "[SEP]" has the tokens of that writing. The same text gives
    the same ids. `lines` is gone through twice.
    """
    tokenizer = Tokenizer(_model(tokens))
    tokenizer.normalizer = _normalizer(tokens, words, lowercase)
    tokenizer.pre_tokenizer = _pre_tokenizer(tokens, words)
    if tokens == "wordpiece":
        trainer = _wordpiece_trainer(lines, tokenizer.normalizer, words, vocabulary)
    else:
        trainer = _trainer(tokens, vocabulary)
    tokenizer.train_from_iterator(lines, trainer)
    found = json.loads(tokenizer.to_str())
    found["added_tokens"] = []  # added, they would be found in texts
    if tokens in ("words", "characters"):
        known = found["model"]["vocab"]
        kept = [word for word in sorted(known, key=known.__getitem__) if word != UNKNOWN][:vocabulary]
        found["model"]["vocab"] = {word: place for place, word in enumerate(kept)}
    tokenizer = Tokenizer.from_str(json.dumps(found))
    tokenizer.decoder = _decoder(tokens)
    return tokenizer.to_str()


def word_tokenizer(words: Sequence[str]) -> str:
    """A tokenizer that knows these words, separated by spaces; their ids follow those of special tokens."""
    known = {word: place for place, word in enumerate((*SPECIAL, *words))}
    tokenizer = Tokenizer(models.WordLevel(known, unk_token=UNK_NAME))
    tokenizer.pre_tokenizer = _pre_tokenizer("words", "spaces")
    return tokenizer.to_str()


def _model(tokens: Tokens) -> models.Model:
    match tokens:
        case "wordpiece":
            return models.WordPiece(unk_token=UNK_NAME)
        case "bpe":
            return models.BPE()
    return models.WordLevel(unk_token=UNK_NAME)


def _normalizer(tokens: Tokens, words: Words, lowercase: bool) -> normalizers.Normalizer:
    steps: list[normalizers.Normalizer] = [normalizers.NFC()]
    if lowercase:
        steps.append(normalizers.Lowercase())
    if words == "spaces" and tokens in ("words", "wordpiece"):  # a word there may be written like a special one
        steps.append(normalizers.Replace(_NAMES, UNKNOWN))
    return normalizers.Sequence(steps)


def _pre_tokenizer(tokens: Tokens, words: Words) -> pre_tokenizers.PreTokenizer:
    match tokens:
        case "bpe":
            return pre_tokenizers.ByteLevel(add_prefix_space=True)
        case "characters":
            return pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    return (
        pre_tokenizers.WhitespaceSplit() if words == "spaces" else pre_tokenizers.Split(Regex(MARKS), "removed", True)
    )


def _trainer(tokens: Tokens, vocabulary: int) -> trainers.Trainer:
    special: Any = list(SPECIAL)
    if tokens == "bpe":
        return trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
    # One more: `UNKNOWN` is taken out afterwards.
    return trainers.WordLevelTrainer(vocab_size=vocabulary + 1, special_tokens=special, show_progress=False)


def _wordpiece_trainer(
    lines: Iterable[str], normalizer: normalizers.Normalizer, words: Words, vocabulary: int
) -> trainers.Trainer:
    """Of the most frequent characters, each alone and "##c"; they take half of the vocabulary, at most.

    Such pieces are given to the trainer as special tokens, in order: by itself it would number them as they come out of
    a hash table, otherwise each time.
    """
    counts: Counter[str] = Counter()
    for line in lines:
        counts.update(normalizer.normalize_str(line))
    most = min(1000, max(1, (vocabulary - len(SPECIAL)) // 4))
    found = sorted((c for c in counts if not c.isspace()), key=lambda c: (-counts[c], c))[:most]
    within = sorted(c for c in found if words == "spaces" or unicodedata.category(c)[0] in "LMN" or c == "_")
    special: Any = [*SPECIAL, *(f"##{c}" for c in within)]
    return trainers.WordPieceTrainer(
        vocab_size=vocabulary,
        special_tokens=special,
        initial_alphabet=sorted(found),
        limit_alphabet=len(found),
        show_progress=False,
    )


def _decoder(tokens: Tokens) -> decoders.Decoder | None:
    match tokens:
        case "wordpiece":
            return decoders.WordPiece(prefix="##", cleanup=False)
        case "bpe":
            return decoders.ByteLevel()
        case "characters":
            return decoders.Fuse()
    return None


def find_tokenizer(path: Path) -> Path:
    """tokenizer.json of a folder, of its encoder/, or itself. Raises ValueError where there is none."""
    for place in (path, path / "tokenizer.json", path / "encoder" / "tokenizer.json"):
        if place.is_file():
            return place
    raise ValueError(
        f"dataset.tokenizer {path} does not exist; it must be the folder of a run on text, or a tokenizer.json"
    )


def read_tokenizer(path: Path) -> str:
    """JSON of a tokenizer of the `tokenizers` library, learned here or published, for texts as they are: it neither
    cuts nor pads, and finds no special token in a text. Raises ValueError for any other file, and where a role that
    rows need has no token."""
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        known = Tokenizer.from_str(text).get_vocab(with_added_tokens=False)
        found = json.loads(text)
        found |= {"truncation": None, "padding": None}
        found["added_tokens"] = [each for each in found["added_tokens"] or () if each["content"] not in known]
        tokenizer = Tokenizer.from_str(json.dumps(found)).to_str()
        special_tokens(tokenizer)
    except Exception as error:  # the library raises nothing narrower
        raise ValueError(f"{path} (dataset.tokenizer) cannot be read as a tokenizer: {error}") from error
    return tokenizer


def known_tokenizer(path: Path) -> dict[str, Any]:
    """What the fields of a TextSpec are with the tokenizer at `path`, before any text is read; raises as
    `read_tokenizer`."""
    tokenizer = read_tokenizer(find_tokenizer(path))
    starts = tuple(word_starts(tokenizer))
    return {
        "vocabulary": len(starts),
        "tokenizer": tokenizer,
        "special": special_tokens(tokenizer),
        "starts": starts,
        "ends": tuple(word_ends(tokenizer)),
    }


def special_tokens(tokenizer: str) -> SpecialTokens:
    """The ids of special tokens, by their names. Raises ValueError if one is missing, except for `eos`."""
    read = Tokenizer.from_str(tokenizer)
    found: dict[str, int | None] = {}
    for role, names in ROLES.items():
        ids = [read.token_to_id(name) for name in names]
        found[role] = next((each for each in ids if each is not None), None)
        if found[role] is None and role != "eos":
            raise ValueError(
                f"its vocabulary has no {' or '.join(names)}; add one to it, since encoders of sentences need it"
            )
    return SpecialTokens(**found)  # type: ignore[arg-type]


def word_starts(tokenizer: str) -> list[bool]:
    """Whether each id begins a word in any context. A piece "##s" does not; nor do letters, digits and a space by
    itself where spaces are tokens or parts of them: there the token before determines it (`word_ends`)."""
    if (pieces := _as_text(tokenizer)) is not None:
        starts = [bool(piece.strip()) and not _in_word(piece[0]) for piece in pieces]
    else:
        read, model = Tokenizer.from_str(tokenizer), json.loads(tokenizer)["model"]
        prefix = model["continuing_subword_prefix"] if model["type"] == "WordPiece" else None
        pieces = [read.id_to_token(place) or "" for place in range(read.get_vocab_size())]
        starts = [prefix is None or not piece.startswith(prefix) for piece in pieces]
    for place in special_tokens(tokenizer).ids:
        starts[place] = True
    return starts


def word_ends(tokenizer: str) -> list[bool]:
    """Whether any token after each id begins a word: after a space or punctuation mark, where these are tokens or parts
    of them. After an apostrophe it does not ("dog's" is "dog" and "'s")."""
    pieces = _as_text(tokenizer)
    if pieces is None:
        return [False] * Tokenizer.from_str(tokenizer).get_vocab_size()
    ends = [not piece.strip() or not (_in_word(piece[-1]) or piece[-1] in "'’") for piece in pieces]
    for place in special_tokens(tokenizer).ids:
        ends[place] = True
    return ends


def _as_text(tokenizer: str) -> list[str] | None:
    """What each id is in a text, with the space before it; None where spaces are no part of tokens."""
    decoder = json.loads(tokenizer)["decoder"] or {}
    if decoder.get("type") not in ("ByteLevel", "Fuse"):
        return None
    read = Tokenizer.from_str(tokenizer)
    return read.decode_batch([[place] for place in range(read.get_vocab_size())], skip_special_tokens=False)


def _in_word(character: str) -> bool:
    """Whether it goes on with a word as `MARKS` has them; a part of a character's bytes is taken to."""
    kind = unicodedata.category(character)
    return kind[0] in "LM" or kind in ("Nd", "Pc") or character in "\u200c\u200d\N{REPLACEMENT CHARACTER}"
