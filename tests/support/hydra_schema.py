"""The keys of Hydra's own node, whatever the version: its schema is walked."""

from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

from hydra.conf import ConfigSourceInfo, HydraConf


def keys(cls: type[Any] = HydraConf, path: str = "") -> dict[str, Any]:
    """Dotted keys, without the node's name, and their annotations; `defaults`, which is no key, and `mode` apart."""
    hints = get_type_hints(cls)
    found: dict[str, Any] = {}
    for field in fields(cls):
        hint, key = hints[field.name], f"{path}{field.name}"
        if is_dataclass(hint):
            found |= keys(hint, f"{key}.")  # type: ignore[arg-type]
        elif key not in ("defaults", "mode"):
            found[key] = hint
    return found


def other_value(hint: Any) -> Any:
    """A value that such a key takes, and does not have by itself."""
    kinds = get_args(hint) if type(None) in get_args(hint) else (hint,)
    origin = get_origin(kinds[0]) or kinds[0]
    if origin is list and get_args(kinds[0])[0] is ConfigSourceInfo:
        return [{"path": "evil", "schema": "file", "provider": "evil"}]
    values = {str: "evil", int: 7, bool: True, dict: {"evil": "evil"}, list: ["evil"]}
    return values.get(origin, {"_target_": "os.mkdir"})
