"""Where a sentence ends: a small rule for European languages, and no more than that."""

import re
from collections.abc import Iterable, Iterator
from typing import Literal

Sentences = Literal["split", "lines", "none"]

_SHORT = """
    adm al approx apr art aug ave bros c ca capt cf ch cmdr co col corp dec dept dr e.g ed eds esp est fig figs fr feb
    gen gov hon i.e inc jan jr jul jun lt ltd maj mar messrs mgr mr mrs ms mt no nos nov oct op p pp pres prof pt rep
    resp rev sen sep sept sgt sr st ste vol vols vs viz
"""
ABBREVIATIONS = frozenset(_SHORT.split())
_END = re.compile(r"""[.!?…]+["'”’»)\]]*(\s+)["'“‘«(\[]*(\w)""")


def split_sentences(text: str) -> list[str]:
    """Cut a paragraph after . ! ? … (and quotes or brackets that close there) where white space and then a capital
    letter or a digit follow; not after an abbreviation, nor after an initial.

    >>> split_sentences('Dr. J. Watson came. "Is it 5 p.m.?" he asked. No! It was 3.5 miles, i.e. far.')
    ['Dr. J. Watson came.', '"Is it 5 p.m.?" he asked.', 'No!', 'It was 3.5 miles, i.e. far.']
    """
    found, start = [], 0
    for end in _END.finditer(text):
        if not (end[2].isupper() or end[2].isdigit()):
            continue
        word = text[text.rfind(" ", 0, end.start()) + 1 : end.start()].lstrip("\"'“‘«([")
        if text[end.start()] == "." and (word.lower() in ABBREVIATIONS or (len(word) == 1 and word.isupper())):
            continue
        found.append(text[start : end.start(1)].strip())
        start = end.end(1)
    return [*found, text[start:].strip()]


def sentences(lines: Iterable[str], rule: Sentences) -> Iterator[str]:
    """The sentences of a document, none empty, white space within them single.

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
