"""The text of --explain: one group, option or key, from the comments of conf/ and the signatures of its classes."""

import inspect
from collections.abc import Iterable, Sequence

from ssl_runner.commands.help import Command, paragraph, rows
from ssl_runner.config.documentation import Document, Key, about_group, document, named, option
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.hints import hint, nearest
from ssl_runner.config.names import TARGET
from ssl_runner.config.paths import conf_dir, groups


def explained(what: str, command: Command) -> str:
    """What `command --explain what` prints. Raises ConfigError, with the nearest name, where there is no such thing."""
    group, equals, name = what.partition("=")
    if equals:
        if group not in groups():
            raise ConfigError([f"{group}: no such group{nearest(group, groups())}"])
        if name not in named(group):
            known = list(named(group))
            raise ConfigError([f"{what}: no such option{nearest(name, known)}; {group} has: {', '.join(known)}"])
        return _option(group, name)
    root = document(conf_dir() / f"{command.root}.yaml")
    above, _, below = what.partition(".")
    parts = [_key(what, root), _group(group) if group in groups() else "", _key_of_options(above, below)]
    if not any(parts):
        known = [
            *groups(),
            *(key.name for key in root.keys),
            *(key for group in groups() for key in _keys_of_options(group)),
        ]
        raise ConfigError([f"{what}: no such group or key of {command.name}{hint(what, known)}"])
    return "\n\n".join(part for part in parts if part)


def _key(name: str, root: Document) -> str:
    """A key of the root and those below it."""
    return rows(map(_row, [key for key in root.keys if f"{key.name}.".startswith(f"{name}.")]), indent=0)


def _key_of_options(group: str, name: str) -> str:
    """A key of a group's options, and which options have it: "trainer.precision", "objective.temperature"."""
    if not name or group not in groups():
        return ""
    found = [(option_name, key) for option_name in named(group) for key in option(group, option_name).keys]
    lines = [(option_name, *_row(key)) for option_name, key in found if key.name == name]
    return rows([(f"{group}={option_name}", f"{key}: {comment}") for option_name, key, comment in lines], indent=0)


def _keys_of_options(group: str) -> set[str]:
    """The keys of a group's options, as a command line has them."""
    if group not in groups():
        return set()
    return {f"{group}.{key.name}" for name in named(group) for key in option(group, name).keys}


def _group(group: str) -> str:
    found = named(group)
    if len(found) == 1:
        return _option(group, *found)
    head = f"{group}=OPTION"
    return "\n".join(
        [
            paragraph(f"{head}: {about}" if (about := about_group(group)) else head),
            rows((name, option(group, name).first_line) for name in found),
        ]
    )


def _option(group: str, name: str) -> str:
    this = option(group, name)
    place = (this.package or group.replace("/", ".")).removeprefix("_global_")
    keys = [key for key in this.keys if not key.name.endswith(TARGET) and not key.name.startswith("hydra")]
    keys = [key for key in keys if key.value is not None or key.comment]
    parts = [f"{group}={name}", this.head, _includes(this)]
    if this.choices:
        lines = (
            (f"{choice.group}{_at(choice.package, place)}={choice.option}", choice.comment) for choice in this.choices
        )
        parts.append("Chooses:\n" + rows(lines))
    if keys:
        what = f"Keys, with the default value (set {place}.KEY=VALUE)" if place else "Sets"
        parts.append(f"{what}:\n" + rows(map(_row, keys)))
    parts += [_class(target, group) for target in dict.fromkeys(this.targets)]
    return "\n\n".join(part for part in parts if part)


def _at(package: str | None, place: str) -> str:
    """Where a choice goes, as the command line names it: `objective/views@objective.small_views=...`."""
    return "" if package is None or package.startswith("_global_") else f"@{place}.{package}"


def _includes(this: Document) -> str:
    """What a set of options holds; of a file that other files continue, that file is part of its own text."""
    if this.package != "_global_" or not this.includes:
        return ""
    lines = ((name, comment or option(group, name).first_line) for group, name, comment in this.includes)
    return "Holds:\n" + rows(lines)


def _row(key: Key) -> tuple[str, str]:
    if key.value is None:
        return key.name, key.comment
    if key.value == "???":
        return f"{key.name} (required)", key.comment
    return f"{key.name}={key.value}", key.comment


def _class(target: str, group: str) -> str:
    """A class, the first paragraph of its docstring, and what goes with it."""
    from ssl_runner.config.fit import partners
    from ssl_runner.config.signatures import locate

    cls = locate(target)
    said = inspect.cleandoc(cls.__doc__ or "").partition("\n\n")[0]
    parts = [f"Class: {target}"]
    if said:
        parts.append(paragraph(said, indent=2))
    if goes_with := _listed(partners(group, cls).items()):
        parts.append(f"\nGoes with, by the types of the classes:\n{goes_with}")
    return "\n".join(parts)


def _listed(found: Iterable[tuple[str, Sequence[str]]]) -> str:
    return rows((axis, ", ".join(names) or "none") for axis, names in found)
