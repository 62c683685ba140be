"""Wikipedia articles shipped with the package gensim: no download."""

import bz2
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

FILE = "enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"
LEAST_WORDS = 5
_LINE_MARKS = re.compile(r"^[*#:;\s]+")
_BRACKETS = re.compile(r"\((?:[\s,;:]|i\.e\.|cf\.|from)*\)")  # what is left of brackets around what was taken out
_BEFORE_MARK = re.compile(r"\s+([,.;:!?)])")


def wiki_file() -> Path:
    """The path of the articles, without importing gensim. Raises ValueError if they are missing."""
    found = importlib.util.find_spec("gensim")
    if found is None or found.origin is None:
        raise ValueError("dataset=wiki_sample reads its articles from the package gensim, which is not installed")
    path = Path(found.origin).parent / "test" / "test_data" / FILE
    if not path.is_file():
        raise ValueError(f"dataset=wiki_sample needs {path}, which is missing; install gensim >= 4.4")
    return path


def articles(path: Path) -> Iterator[list[str]]:
    """The paragraphs of each article. Raises ValueError for a damaged file."""
    from gensim.corpora.wikicorpus import extract_pages, filter_wiki

    try:
        with bz2.open(path) as file:
            for _, text, _ in extract_pages(file, ("0",)):
                if text and not text.lstrip().lower().startswith("#redirect"):
                    yield prose(filter_wiki(text, promote_remaining=True, simplify_links=True))
    except (OSError, EOFError, SyntaxError) as error:  # what bz2 and the XML parser raise
        raise ValueError(f"{path} is damaged ({error}); install gensim again") from error


def prose(text: str) -> list[str]:
    """The paragraphs of an article whose links and templates are taken out: lines of at least five words that end like
    sentences. So headings, captions, tables and lists of names go.

    >>> prose("== Life ==\\nFile:a.jpg|thumb\\n'''Ada''' ( ) was a ''mathematician'' and writer .\\n* [[Byron]]")
    ['Ada was a mathematician and writer.']
    """
    found = []
    for line in text.splitlines():
        if line.startswith(("=", "|", "!", "{", "}", "<")) or "|" in line:
            continue
        line = _LINE_MARKS.sub("", line).replace("'''", "").replace("''", "")
        line = _BEFORE_MARK.sub(r"\1", _BRACKETS.sub("", line).replace("( ", "("))
        line = " ".join(line.split())
        if len(line.split()) >= LEAST_WORDS and line.rstrip("\"'”’)").endswith((".", "!", "?", "…")):
            found.append(line)
    return found
