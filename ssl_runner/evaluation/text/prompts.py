"""Prompts: templates with slots, cut in tokens, and filled. n questions, k examples of a prompt, L labels."""

from collections.abc import Mapping, Sequence
from string import Formatter
from typing import NamedTuple

from tokenizers import Tokenizer

Ids = list[int]


class Example(NamedTuple):
    text: str
    label: int


class Pool(NamedTuple):
    """Examples of one rule, and what is asked of it."""

    examples: Sequence[Example]
    asked: Sequence[Example]


class Parts(NamedTuple):
    """The fixed texts of a template: before the text, between text and label, and after the label."""

    before: str
    between: str
    after: str


class Cut(NamedTuple):
    """A template and its labels in tokens."""

    begin: Ids  # of every prompt
    before: Ids
    lead: str  # spaces before a text, which belong to its first token
    between: Ids
    labels: Sequence[Ids]
    after: Ids


def parse(key: str, template: str) -> Parts:
    """The parts of a template. Raises ValueError unless it has the slots {text} and {label}, in this order."""
    wanted = (
        f"{key} is {template!r}; it must have the slots {{text}} and {{label}}, once each and in this order, as in "
    )
    wanted += '"{text} : {label} ; "'
    try:
        found = list(Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"{wanted} ({error})") from error
    fields = [field for _, field, *_ in found if field is not None]
    if fields != ["text", "label"] or any(spec or conversion for _, _, spec, conversion in found):
        raise ValueError(wanted)
    fixed = [literal for literal, *_ in found]
    return Parts(fixed[0], fixed[1], "".join(fixed[2:]))


def cut(tokenizer: Tokenizer, parts: Parts, labels: Sequence[str], begin: Ids) -> Cut:
    """A template in tokens. Spaces at the end of a part belong to what follows it, as tokenizers of bytes have them."""
    before, lead = stripped(parts.before)
    between, label_lead = stripped(parts.between)

    return Cut(
        begin=begin,
        before=list(tokenizer.encode(before, add_special_tokens=False).ids),
        lead=lead,
        between=continued(tokenizer, between),
        labels=[continued(tokenizer, label_lead + label) for label in labels],
        after=continued(tokenizer, parts.after),
    )


def continued(tokenizer: Tokenizer, text: str) -> Ids:
    """The tokens of a text that goes on from another one, at whose beginning some tokenizers would put a space."""
    for anchor in "a.":  # a word or a mark: one of them does not become a part of what follows
        found = tokenizer.encode(anchor + text, add_special_tokens=False)
        if all(end <= 1 or start >= 1 for start, end in found.offsets):
            return [token for token, (start, _) in zip(found.ids, found.offsets, strict=True) if start >= 1]
    return list(tokenizer.encode(text, add_special_tokens=False).ids)


def stripped(part: str) -> tuple[str, str]:
    """
    >>> stripped("Review: ")
    ('Review:', ' ')
    """
    text = part.rstrip()
    return text, part[len(text) :]


def room(made: Cut, examples: int, length: int) -> int:
    """The tokens that each text of a prompt may have; 0 or less: there is no room."""
    label = max(map(len, made.labels))
    own = len(made.before) + len(made.between) + label
    left = length - len(made.begin) - examples * (own + len(made.after)) - own
    return left // (examples + 1)


def prompt(made: Cut, shown: Sequence[tuple[Ids, int]], asked: Ids, most: int) -> Ids:
    """The tokens of a prompt up to the label that is asked for. `shown`: texts and labels of examples; `most`: tokens
    of each text."""
    ids = list(made.begin)
    for text, label in shown:
        ids += [*made.before, *text[:most], *made.between, *made.labels[label], *made.after]
    return [*ids, *made.before, *asked[:most], *made.between]


def check_labels(key: str, names: Sequence[str], labels: Sequence[Ids], words: Mapping[str, str]) -> None:
    """Raise ValueError for labels that this tokenizer cannot tell apart, and for those without a token."""
    known: dict[tuple[int, ...], str] = {}
    for name, ids in zip(names, labels, strict=True):
        said = words.get(name, name)
        if not ids:
            raise ValueError(f"{key}: the label {name!r} is {said!r}, of which the tokenizer makes no token")
        if tuple(ids) in known:
            other = known[tuple(ids)]
            raise ValueError(
                f"{key}: the labels {other!r} and {name!r} are {words.get(other, other)!r} and {said!r}, which are the "
                "same tokens to this encoder: choose words that its vocabulary has"
            )
        known[tuple(ids)] = name
