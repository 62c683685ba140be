"""The documentation of conf/: the head comment of each file, and the comments behind or above its keys."""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from ssl_runner.config.names import TARGET
from ssl_runner.config.paths import PARTS, conf_dirs, groups, options
from ssl_runner.config.plain_yaml import Parser

COMMENT = re.compile(r"""^((?:[^'"#]|'[^']*'|"[^"]*"|(?<=\S)#)*?)(?<!\S)#\s?(.*)$""")  # a # within quotes is none
PACKAGE = re.compile(r"@package\s+(\S+)$")
CHOICE = re.compile(r"(?:override )?(?P<group>[^@]+)(?:@(?P<package>.*))?")


class Key(NamedTuple):
    """A key of a config file."""

    name: str  # dotted: "budget.unit"
    value: str | None  # as the file writes it; None: a mapping, whose keys follow
    comment: str


class Choice(NamedTuple):
    """A line of a defaults list that chooses an option of a group."""

    group: str  # from conf/: "objective/views"
    package: str | None  # where its keys go, if that is not the group's own place
    option: str  # "null": none
    comment: str


class Document(NamedTuple):
    """A config file, as a reader needs it."""

    head: str  # the comment that it begins with, its lines kept
    package: str | None  # where its keys go: "_global_", "evaluation.knn"; None: the place of its group
    includes: tuple[tuple[str, str, str], ...]  # group, option and comment of each config that it is made of
    choices: tuple[Choice, ...]
    keys: tuple[Key, ...]

    @property
    def first_line(self) -> str:
        first, _, more = self.head.partition("\n")
        return f"{first} ..." if more and first[-1] not in ".;:" else first

    @property
    def targets(self) -> list[str]:
        """The dotted names of the classes that are made of it."""
        return [key.value for key in self.keys if key.name.split(".")[-1] == TARGET and key.value is not None]


@cache
def document(file: Path, group: str = "") -> Document:
    """What a file of conf/ says; `group`: the group that it is an option of."""
    text = file.read_text(encoding="utf-8")
    lines = [_split(line) for line in text.split("\n")]
    head = []
    for code, comment in lines:
        if code.strip() or comment is None:
            break
        head.append(comment)
    package = next((found[1] for line in head if (found := PACKAGE.search(line))), None)
    node = yaml.compose(text, Parser)
    body = node.value if isinstance(node, MappingNode) else []
    listed: list[Node] = next((value.value for key, value in body if key.value == "defaults"), [])
    includes, choices = _defaults(listed, lines, group)
    return Document(
        "\n".join(line for line in head if not PACKAGE.search(line)).strip(),
        package,
        tuple(includes),
        tuple(choices),
        tuple(_keys([pair for pair in body if pair[0].value != "defaults"], "", text, lines, len(head))),
    )


def named(group: str) -> dict[str, Path]:
    """The options of a group, by name."""
    return _named(group, tuple(conf_dirs()))


@cache
def _named(group: str, packages: tuple[str, ...]) -> dict[str, Path]:
    """`packages`: those whose options are known, on which it depends."""
    return options(group)


@cache
def option(group: str, name: str) -> Document:
    """An option with the keys of all that it is made of. Raises KeyError where there is none."""
    own = document(named(group)[name], group)
    keys: dict[str, Key] = {}
    if own.package != "_global_":
        for above, part, _ in own.includes:
            if above in PARTS:  # a set of named parts, each of which is documented as an option of another group
                continue
            keys |= {key.name: key for key in option(above, part).keys}
    for key in own.keys:
        known = keys.get(key.name)
        keys[key.name] = key._replace(comment=known.comment) if known is not None and not key.comment else key
    return own._replace(keys=tuple(keys.values()))


def about_group(group: str) -> str:
    """What a group chooses, in one line: the first comment behind a line of a defaults list that chooses from it.

    Files of the root come first, then those of the group above.
    """
    files, above = _files(), group.rpartition("/")[0]
    for file in sorted(files, key=lambda file: (files[file] != "", files[file] != above)):
        for choice in document(file, files[file]).choices:
            if choice.group == group and choice.comment:
                return choice.comment
    return ""


def choosable(root: Document) -> list[str]:
    """The groups that a command line may choose from: those of the root, those below, and those that options choose."""
    found: list[str] = []
    known = groups()
    for axis in (choice.group for choice in root.choices):
        found += [group for group in known if group == axis or group.startswith(f"{axis}/")]
    for group in list(found):
        for name in named(group):
            found += [choice.group for choice in option(group, name).choices]
    return list(dict.fromkeys(found))


def expanded(root: Document) -> Iterator[Key]:
    """The keys of the root, and those of the groups that have one option."""
    yield from root.keys
    for choice in root.choices:
        if list(named(choice.group)) == [choice.option]:
            yield Key(choice.group, None, choice.comment)
            for key in option(choice.group, choice.option).keys:
                yield key._replace(name=f"{choice.group}.{key.name}")


@cache
def _files() -> dict[Path, str]:
    """All files of conf/, and the group of each; "": the root."""
    return {file: group for group in ("", *groups()) for file in named(group).values()}


def _split(line: str) -> tuple[str, str | None]:
    """A line without its comment, and the comment."""
    found = COMMENT.match(line)
    return (line, None) if found is None else (found[1], found[2].strip())


def _defaults(
    listed: Sequence[Node], lines: Sequence[tuple[str, str | None]], group: str
) -> tuple[list[tuple[str, str, str]], list[Choice]]:
    includes, choices = [], []
    for item in listed:
        comment = lines[item.start_mark.line][1] or ""
        if isinstance(item, ScalarNode) and item.value != "_self_":
            whole = _from_root(item.value.partition("@")[0], group)
            includes.append((*_parts(whole), comment))
        elif isinstance(item, MappingNode):
            key, value = item.value[0]
            if (found := CHOICE.fullmatch(key.value)) is None:
                continue
            chosen = [each.value for each in value.value] if isinstance(value, SequenceNode) else [value.value]
            of = _from_root(found["group"], group)
            choices += [Choice(of, found["package"], each, comment) for each in chosen]
    return includes, choices


def _from_root(name: str, group: str) -> str:
    return name[1:] if name.startswith("/") else f"{group}/{name}".lstrip("/")


def _parts(path: str) -> tuple[str, str]:
    group, _, name = path.rpartition("/")
    return group, name


def _keys(
    pairs: Sequence[tuple[Node, Node]], path: str, text: str, lines: Sequence[tuple[str, str | None]], head: int
) -> Iterator[Key]:
    """`head`: the number of lines of the file's own comment."""
    for key, value in pairs:
        name = f"{path}.{key.value}" if path else str(key.value)
        block = isinstance(value, MappingNode) and not value.flow_style
        line, column = key.start_mark.line, key.start_mark.column
        last = line if block or (isinstance(value, SequenceNode) and not value.flow_style) else value.end_mark.line
        said = [*_above(lines, line, column, head), lines[last][1] or "", *_below(lines, last + 1, column)]
        written = None if block else _written(value, text)
        yield Key(name, written, " ".join(part for part in said if part))
        if block:
            yield from _keys(value.value, name, text, lines, head)


def _above(lines: Sequence[tuple[str, str | None]], line: int, column: int, head: int) -> list[str]:
    """The comment lines right above a line, at its own indentation."""
    found: list[str] = []
    while line - 1 >= head and lines[line - 1][1] is not None and lines[line - 1][0] == " " * column:
        line -= 1
        found.insert(0, lines[line][1] or "")
    return found


def _below(lines: Sequence[tuple[str, str | None]], line: int, column: int) -> list[str]:
    """The comment lines that go on with the comment behind a key: those that are indented further than the key."""
    found = []
    while line < len(lines) and lines[line][1] is not None and not lines[line][0].strip():
        if len(lines[line][0]) <= column + 2:
            break
        found.append(lines[line][1] or "")
        line += 1
    return found


def _written(value: Node, text: str) -> str:
    if isinstance(value, SequenceNode) and not value.flow_style:
        return "[" + ", ".join(str(each.value) for each in value.value) + "]"
    return " ".join(text[value.start_mark.index : value.end_mark.index].split())
