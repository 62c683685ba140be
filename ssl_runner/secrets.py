"""What a config must not hold: a config is written to config.yaml, result.json and reports, and sent to loggers."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

NAMES = re.compile(r"(?i)(KEY|TOKEN|CREDENTIALS?|PASS|PASSWD|PASSPHRASE)$|SECRET|PASSWORD")  # of variables with secrets
LEAST = 8  # characters; a shorter value would be found where it is not meant
LOGIN = re.compile(r"\w://[^/\s:@]*:[^/\s@]+@")  # scheme://user:password@host
SHAPES = re.compile(  # of keys of wandb (of old 40 hexadecimal digits), Hugging Face, GitHub, AWS, and private keys
    r"(^|=|\s)[0-9a-f]{40}(\s|$)|wandb_v\d+_\w{20,}|\bhf_\w{30,}|\bgh[a-z]_\w{30,}|\bgithub_pat_\w{20,}"
    r"|\bAKIA[0-9A-Z]{16}\b|PRIVATE KEY-----"
)


def secrets_in(node: Any, path: str = "") -> list[str]:
    """A line for each text in plain dicts and lists that is a secret, or holds one. The lines do not repeat it."""
    known = {value: name for name, value in os.environ.items() if NAMES.search(name) and len(value) >= LEAST}
    return [f"{key or 'the command line'} {why}" for key, text in _texts(node, path) if (why := _why(text, known))]


def _why(text: str, known: Mapping[str, str]) -> str | None:
    kept = "and a config is kept, and shown in reports: take it out"
    for value, name in known.items():
        if value in text:
            return f"holds the value of the environment's {name}, {kept}"
    if LOGIN.search(text):
        return f"holds an address with a password, {kept}"
    if SHAPES.search(text):
        return f"looks like a secret key, {kept}; wandb finds its key in WANDB_API_KEY or by `wandb login`"
    return None


def _texts(node: Any, path: str) -> Iterator[tuple[str, str]]:
    """Dotted keys and texts. A key may be the secret itself: then it is a text of what holds it."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield path, str(key)
            yield from _texts(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, Sequence) and not isinstance(node, str):
        for each in node:
            yield from _texts(each, path)
    elif isinstance(node, str):
        yield path, node
