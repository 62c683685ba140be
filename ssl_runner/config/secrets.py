"""Detection of secrets in configs, since configs are written to files and reports, and sent to loggers."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

NAMES = re.compile(  # of variables with secrets
    r"(?i)(KEY|TOKEN|CREDENTIALS?|CREDS|PASS|PASSWD|PASSPHRASE|(_|^)(PAT|O?AUTH|DSN|COOKIE)|_PWD?)$"
    r"|SECRET|PASSWORD|WEBHOOK|BEARER"
)
LEAST = 8  # characters; a shorter value would be found where it is not meant
LOGIN = re.compile(r"\w://([^/\s:@]*:[^/\s@]+|[^/\s:@]{20,})@")  # scheme://user:password@host, scheme://token@host
SIGNED = re.compile(
    r"(?i)[?&](X-(Amz|Goog)-Signature|sig|signature|(access_?|auth_?)?token|api_?key|key|password)=[^&\s]{8}"
)
HOOKS = (
    re.compile(  # whoever knows such an address may write there: Slack, Discord, Teams, Google Chat, Telegram, IFTTT
        r"(?i)hooks\.slack\.com/(services|workflows|triggers)/\w|discord(app)?\.com/api/(v\d+/)?webhooks/\d"
        r"|webhook\.office\.com/|\.logic\.azure\.com[:/]|chat\.googleapis\.com/v\d+/spaces/|api\.telegram\.org/bot\d"
        r"|maker\.ifttt\.com/trigger/|://[^/\s]+/[^\s]*webhooks?/\S{16}"
    )
)
SHAPES = (
    re.compile(  # of keys of wandb (of old 40 hexadecimal digits), Hugging Face, GitHub, GitLab, AWS, Google, Slack,
        # OpenAI and others, npm, PyPI, and private keys
        r"(^|=|\s)[0-9a-f]{40}(\s|$)|wandb_v\d+_\w{20,}|\bhf_\w{30,}|\bgh[a-z]_\w{30,}|\bgithub_pat_\w{20,}"
        r"|\bglpat-[\w-]{20,}|\bA[KS]IA[0-9A-Z]{16}\b|\bAIza[\w-]{35}|\bxox[a-z]-[\w-]{20,}|\bsk-[\w-]{32,}"
        r"|\bnpm_\w{36}|\bpypi-[\w-]{50,}|\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]+|PRIVATE KEY-----"
    )
)


def secrets_in(node: Any, path: str = "") -> list[str]:
    """One line for each string in plain dicts and lists that contains a secret, without repeating it."""
    known = _known()
    return [f"{key or 'the command line'} {why}" for key, text in _texts(node, path) if (why := _why(text, known))]


def without_secrets(text: str) -> str:
    """`text` with the values of the environment's secrets replaced by their names: a failing interpolation, such as
    `${oc.env:NO_${oc.env:TOKEN}}`, has them in its message."""
    for value, name in _known().items():
        text = text.replace(value, f"[{name}]")
    return text


def _known() -> dict[str, str]:
    """The secrets of the environment: value -> name, the longest first, since one may hold another."""
    found = {value: name for name, value in os.environ.items() if NAMES.search(name) and len(value) >= LEAST}
    return dict(sorted(found.items(), key=lambda each: -len(each[0])))


def _why(text: str, known: Mapping[str, str]) -> str | None:
    kept = "and configs are stored and shown in reports: remove it"
    for value, name in known.items():
        if value in text:
            return f"contains the value of the environment variable {name}, {kept}"
    if LOGIN.search(text):
        return f"contains a URL with a password, {kept}"
    if SIGNED.search(text):
        return f"contains a URL with a signature or a key, {kept}"
    if HOOKS.search(text):
        return f"contains the URL of a webhook, {kept}"
    if SHAPES.search(text):
        return f"looks like a secret key, {kept}; wandb reads its key from WANDB_API_KEY or from `wandb login`"
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
    elif isinstance(node, int | float):  # as YAML reads a secret of digits
        yield path, str(node)
