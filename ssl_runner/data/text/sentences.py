"""Sentence splitting by rules for European languages, mainly English, in running and tokenized text.

No library is asked: those without a model to download are no longer kept up, and take minutes for what rules that are
tested on 200 sentences do in seconds.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Literal

Sentences = Literal["split", "lines", "none"]

# What a name, a number or more text always follows.
BEFORE = frozenset(
    """
    adm approx brig capt cf cmdr col cpl dr e.g esp figs fr ft gen gov hon i.e lt maj messrs mgr mlle mme mr mrs ms mt
    nos pp pres prof rep resp rev sen sgt st ste viz vol vols vs
    """.split()  # noqa: SIM905
)
# What a number follows, if it does not end a sentence.
NUMBERED = frozenset("art ca ch ed fig no op p pt sec".split())  # noqa: SIM905
# What ends a sentence where a word follows that often begins one.
EITHER = frozenset(
    """
    al apr aug ave bros c co corp dec dept dist eds est etc feb inc jan jr jul jun ltd mar nov oct ph.d sep sept sr
    """.split()  # noqa: SIM905
)
# Words that often begin a sentence, and hardly ever a name.
STARTERS = frozenset(
    """
    a according after all although among an and another as at because before both but by despite during each even every
    few finally first for from further furthermore he hence her here his how however i if in instead it its later like
    many meanwhile more moreover most my nevertheless no none nor not nothing now of often on once one only or other our
    over part perhaps several she since so some sometimes soon still such that the their then there therefore these they
    this those though through thus to today together two under unlike until upon we what when where whether which while
    who why with within without yet you your
    """.split()  # noqa: SIM905
)
_END = re.compile(
    r"""
    (?P<mark>(?:\s?[.!?…])+)                  # marks, each perhaps with a space before it: "end ." and ". . ."
    (?P<close>(?:["'”’»)\]]|\s[”’»)\]])*)     # what closes there
    (?P<quote>\s(?:["']|'')(?=\s|$))?         # in tokenized text a straight quote, which may open or close
    (?P<space>\s+)
    (?=(?:(?:``|["'“‘«(\[])\s?)*(?P<next>\w+)(?P<dot>\s?\.(?!\w))?)
    """,
    re.VERBOSE,
)
_WORD = re.compile(r"""[^\s"'“‘«(\[]+\Z""")
_DOTTED = re.compile(r"(?:\w\.)+\w")


def split_sentences(text: str) -> list[str]:
    """Cut a paragraph after . ! ? … (and quotes or brackets that close there) where white space and then a capital
    letter or a digit follow. After a title it is not cut; after other abbreviations and initials where one of
    `STARTERS` follows. Marks may stand by themselves, as in tokenized text.

    >>> split_sentences('Dr. J. Watson came. "Is it 5 p.m.?" he asked. No! It was 3.5 miles, i.e. far.')
    ['Dr. J. Watson came.', '"Is it 5 p.m.?" he asked.', 'No!', 'It was 3.5 miles, i.e. far.']
    >>> split_sentences('Mr . Smith of the U.S. Army left . " I know , " said J . K . Rowling . In 1999 it rained .')
    ['Mr . Smith of the U.S. Army left .', '" I know , " said J . K . Rowling .', 'In 1999 it rained .']
    """
    found, start = [], 0
    for end in _END.finditer(text):
        begins = end["next"]
        if not (begins[0].isupper() or begins[0].isdigit()) or _abbreviated(text[start : end.start()], end):
            continue
        stop = end.end("close")
        if end["quote"] and text.count('"', start, stop) % 2 == ('"' in end["quote"]):
            stop = end.end("quote")
        found.append(text[start:stop].strip())
        start = stop
    return [*found, text[start:].strip()]


def _abbreviated(before: str, end: re.Match[str]) -> bool:
    """Whether the mark belongs to the last word of `before`, which starts at the sentence's start."""
    if end["mark"].strip() != ".":
        return False
    last = _WORD.search(before)
    if last is None:
        return False
    word, begins = last[0], end["next"]
    if last.start() == 0 and (word.isdecimal() or len(word) == 1):  # the number of an item
        return True
    known = word.lower()
    if known in BEFORE:
        return True
    if known in NUMBERED and (begins[0].isdigit() or word.islower()):
        return True
    initial = len(word) == 1 and word.isupper()
    if not (known in EITHER or initial or _DOTTED.fullmatch(word)):
        return False
    if end["close"] or end["quote"]:
        return False
    return begins.lower() not in STARTERS or bool(end["dot"] and len(begins) == 1)


def sentences(lines: Iterable[str], rule: Sentences) -> Iterator[str]:
    """The non-empty sentences of a document, with white space normalized.

    split: a blank line ends a paragraph, whose lines are joined and split by `split_sentences`; lines: each line is a
    sentence; none: lines as they are, which end nothing.
    """
    if rule != "split":
        yield from filter(None, (" ".join(line.split()) for line in lines))
        return
    paragraph: list[str] = []
    for line in lines:
        if words := " ".join(line.split()):
            paragraph.append(words)
        elif paragraph:
            yield from filter(None, split_sentences(" ".join(paragraph)))
            paragraph = []
    if paragraph:
        yield from filter(None, split_sentences(" ".join(paragraph)))
