"""Tokenizers, trained by the `tokenizers` library."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from ssl_runner.interfaces import SPECIAL, UNK

Tokens = Literal["words", "wordpiece", "bpe", "characters"]
Words = Literal["marks", "spaces"]

BYTES = 256  # the least that bpe knows
MARKS = r"(?<=\w)['’]\w+|\w+|[^\w\s]"  # runs of letters and digits, what an apostrophe begins, each mark for itself
UNKNOWN = "<unk>"  # what published texts write for a rare word
_WORD = re.compile(MARKS)
_NAMES = Regex(r"\[(?:" + "|".join(name[1:-1] for name in SPECIAL) + r")\]")


def least_vocabulary(tokens: Tokens) -> int:
    """Special ids, and one token; all bytes for bpe."""
    return len(SPECIAL) + (BYTES if tokens == "bpe" else 1)


def count_words(line: str, words: Words) -> int:
    return len(line.split()) if words == "spaces" else sum(1 for _ in _WORD.finditer(line))


def train_tokenizer(lines: Iterable[str], *, tokens: Tokens, words: Words, vocabulary: int, lowercase: bool) -> str:
    """Learn a vocabulary of at most `vocabulary` ids, the special ones first: JSON of the `tokenizers` library.

    tokens  words       the most frequent words; others are UNK
            wordpiece   pieces of words, those within a word written "##s" (Schuster, Nakajima 2012; as BERT's)
            bpe         pairs of bytes joined, a space before a word part of it (Sennrich, Haddow, Birch 2016,
                        https://arxiv.org/abs/1508.07909; of bytes as GPT-2's): nothing is UNK
            characters  the most frequent characters
    words   marks       what a word is to `words` and `wordpiece`: `MARKS`; spaces: what stands between spaces

    Text never makes a special id but UNK: a text that says "[SEP]" has the tokens of that writing.
    """
    tokenizer = Tokenizer(_model(tokens))
    tokenizer.normalizer = _normalizer(tokens, words, lowercase)
    tokenizer.pre_tokenizer = _pre_tokenizer(tokens, words)
    tokenizer.train_from_iterator(lines, _trainer(tokens, vocabulary))
    found = json.loads(tokenizer.to_str())
    found["added_tokens"] = []  # added, they would be found in texts
    if tokens in ("words", "characters"):
        known = found["model"]["vocab"]
        kept = [word for word in sorted(known, key=known.__getitem__) if word != UNKNOWN][:vocabulary]
        found["model"]["vocab"] = {word: place for place, word in enumerate(kept)}
    tokenizer = Tokenizer.from_str(json.dumps(found))
    tokenizer.decoder = _decoder(tokens)
    return tokenizer.to_str()


def _model(tokens: Tokens) -> models.Model:
    match tokens:
        case "wordpiece":
            return models.WordPiece(unk_token=SPECIAL[UNK])
        case "bpe":
            return models.BPE()
    return models.WordLevel(unk_token=SPECIAL[UNK])


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
            return pre_tokenizers.Split(Regex("(?s)."), "isolated")
    return (
        pre_tokenizers.WhitespaceSplit() if words == "spaces" else pre_tokenizers.Split(Regex(MARKS), "removed", True)
    )


def _trainer(tokens: Tokens, vocabulary: int) -> trainers.Trainer:
    special: Any = list(SPECIAL)
    match tokens:
        case "wordpiece":
            alphabet = max(1, (vocabulary - len(SPECIAL)) // 4)  # each character has two pieces: half of all, at most
            return trainers.WordPieceTrainer(
                vocab_size=vocabulary, special_tokens=special, limit_alphabet=min(alphabet, 1000), show_progress=False
            )
        case "bpe":
            return trainers.BpeTrainer(
                vocab_size=vocabulary,
                special_tokens=special,
                initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                show_progress=False,
            )
    # One more: `UNKNOWN` is taken out afterwards.
    return trainers.WordLevelTrainer(vocab_size=vocabulary + 1, special_tokens=special, show_progress=False)


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
    """tokenizer.json of a run's folder, of its encoder/, or itself. Raises ValueError where there is none."""
    for place in (path, path / "tokenizer.json", path / "encoder" / "tokenizer.json"):
        if place.is_file():
            return place
    raise ValueError(
        f"dataset.tokenizer {path} is not there; it must be the folder of a run on text, or its encoder/tokenizer.json"
    )


def read_tokenizer(path: Path) -> str:
    """JSON of a tokenizer whose first ids are the special ones. Raises ValueError for any other file."""
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:  # the library raises nothing narrower
        raise ValueError(f"{path} (dataset.tokenizer) cannot be read as a tokenizer: {error}") from error
    first = [tokenizer.id_to_token(place) for place in range(len(SPECIAL))]
    if first != list(SPECIAL):
        raise ValueError(f"{path} (dataset.tokenizer) begins with {first}; it must begin with {list(SPECIAL)}")
    return text


def word_starts(tokenizer: str) -> list[bool]:
    """Whether each id begins a word, as far as it says: a piece "##s" does not, nor does a letter or digit where
    spaces are tokens, or parts of them."""
    found = json.loads(tokenizer)
    vocabulary: Mapping[str, int] = found["model"]["vocab"]
    pieces = sorted(vocabulary, key=vocabulary.__getitem__)
    match found["model"]["type"], (found["decoder"] or {}).get("type"):
        case "WordPiece", _:
            return [not piece.startswith("##") for piece in pieces]
        case "BPE", _:  # "Ġ" is a space; bytes of other scripts are written with letters from U+0080 on
            inside = [piece[0].isalnum() or (ord(piece[0]) >= 128 and piece[0] != "Ġ") for piece in pieces]
        case _, "Fuse":  # characters
            inside = [piece[0].isalnum() for piece in pieces]
        case _:
            return [True] * len(pieces)
    return [place < len(SPECIAL) or not within for place, within in enumerate(inside)]
