"""The settings of an engine that a config may contain. Since configs may be untrusted, settings that can execute a
command or reach another machine are accepted only from the command line.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from ssl_runner.config.errors import ConfigError

SIZES = (
    "timeout_min", "mem_gb", "nodes", "cpus_per_task", "gpus_per_node", "tasks_per_node", "slurm_time", "slurm_nodes",
    "slurm_mem", "slurm_mem_per_cpu", "slurm_mem_per_gpu", "slurm_cpus_per_task", "slurm_cpus_per_gpu",
    "slurm_gpus_per_node", "slurm_gpus_per_task", "slurm_ntasks_per_node", "slurm_gres", "slurm_signal_delay_s",
    "slurm_array_parallelism",
)  # fmt: skip
PLACES = ("slurm_partition", "slurm_qos", "slurm_account", "slurm_constraint", "slurm_exclude", "slurm_exclusive")
CONFIG_SETS: dict[str, tuple[str, ...]] = {  # engine -> settings that only choose among what its user has anyway
    "local": (),
    "submitit": ("cluster", "name", *SIZES, *PLACES),
    "ray": ("cpus", "gpus", "num_cpus", "num_gpus"),
}
LONGEST = 100  # characters of a text among them


def check_settings(engine: str, settings: Mapping[str, Any] | None, arguments: Sequence[str]) -> None:
    """Raise ConfigError for settings that are not `CONFIG_SETS` and that `arguments`, the command line, do not give."""
    given = spoken(arguments)
    known = CONFIG_SETS[engine]
    problems = [
        f"sweep.settings.{key}: a config may not set it, since it could execute code; give it on the "
        f"command line, '+sweep.settings.{key}=...'. Keys that a config may set for "
        f"sweep.engine={engine}: {', '.join(known) or 'nothing'}"
        for key, value in (settings or {}).items()
        if not (key in known and harmless(value)) and not (key in given and given[key] == value)
    ]
    if problems:
        raise ConfigError(problems)


def harmless(value: Any) -> bool:
    """Whether it is a number or a word: a line break would begin a command in the script that SLURM runs."""
    if isinstance(value, str):
        return value.isprintable() and len(value) <= LONGEST
    return value is None or isinstance(value, int | float)


def spoken(arguments: Sequence[str]) -> dict[str, Any]:
    """The settings that the overrides of a command line give, as they are written."""
    found = OmegaConf.create({"sweep": {"settings": {}}})
    for override in OverridesParser.create().parse_overrides(list(arguments)):
        under = override.key_or_group.split(".")[:2] == ["sweep", "settings"] and override.package is None
        if under and not override.is_sweep_override() and not override.is_delete():
            OmegaConf.update(found, override.key_or_group, override.value(), merge=True, force_add=True)
    settings = OmegaConf.to_container(found)["sweep"]["settings"]  # type: ignore[index,call-overload]
    return settings if isinstance(settings, dict) else {}
