"""Engines that give jobs to a cluster: submitit (SLURM, or processes here) and Ray. Extras `submitit` and `ray`.

The folder of outputs must be one that all machines see. A job that is cancelled goes on from its last checkpoint when
the sweep is called again; where a job is preempted, submitit puts it back in the queue by itself.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from ssl_runner.config import plugins
from ssl_runner.config.errors import ConfigError
from ssl_runner.runtime.signals import STOPPED
from ssl_runner.sweeps.engines.interface import Engine, Handle, Work

QUEUED = 1000  # jobs given to SLURM at once, where `sweep.jobs` is left open: it has its own queue


class Task:
    """A job as submitit pickles it: the module that does it, its file and its log, and the plugins of the sweep."""

    def __init__(self, module: str, file: Path, log: Path) -> None:
        self.module = module
        self.environment = plugins.environment()
        self.file = file.resolve()
        self.log = log.resolve()

    def __call__(self) -> int:
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", self.module, str(self.file), "--tied"]
            return subprocess.call(command, stdout=log, stderr=log, env=os.environ | self.environment)

    def checkpoint(self) -> Any:
        """Called by submitit where the job is preempted or out of time: the same again, which goes on."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


class Submitit(Engine):
    """Jobs by https://github.com/facebookincubator/submitit. `settings`: `cluster` (null: SLURM where there is one;
    local: processes here), the others are parameters of its executor: timeout_min, slurm_partition, gpus_per_node."""

    def __init__(self, work: Work, jobs: int | None, settings: dict[str, Any], folder: Path) -> None:
        self._module = work.module
        try:
            import submitit
        except ImportError as error:
            raise ConfigError(
                ["sweep.engine=submitit needs the package submitit: pip install 'ssl-runner[submitit]'"]
            ) from error
        parameters = {"name": folder.name, "timeout_min": 24 * 60, **settings}
        cluster = parameters.pop("cluster", None)
        try:
            self._executor = submitit.AutoExecutor(folder / "submitit", cluster=cluster)
            self._executor.update_parameters(**parameters)
        except (ValueError, TypeError, NameError, AssertionError, RuntimeError) as error:
            raise ConfigError([f"sweep.settings: submitit refuses {settings}: {error}"]) from error
        self.slots = jobs or ((os.cpu_count() or 1) if self._executor.cluster == "local" else QUEUED)

    def start(self, file: Path, log: Path, devices: int) -> Handle:
        return _Submitted(self._executor.submit(Task(self._module, file, log)), log)


class _Submitted:
    def __init__(self, submitted: Any, log: Path) -> None:
        self._job = submitted
        self._log = log

    def poll(self) -> int | None:
        if not self._job.done():
            return None
        error = self._job.exception()
        if error is None:
            return int(self._job.result())
        with self._log.open("a") as log:
            log.write(f"submitit: the job ended as {self._job.state}: {str(error).strip().splitlines()[-1]}\n")
        return 1

    def stop(self) -> None:
        self._job.cancel(check=False)

    def kill(self) -> None:
        self._job.cancel(check=False)


class Ray(Engine):
    """Jobs by https://docs.ray.io. `settings`: `cpus` and `gpus` of a job (1 and 0), the others are ray.init's:
    address=auto finds a cluster, num_cpus=4 begins one here."""

    def __init__(self, work: Work, jobs: int | None, settings: dict[str, Any]) -> None:
        self._module = work.module
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report on itself
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            import ray
        except ImportError as error:
            raise ConfigError(["sweep.engine=ray needs the package ray: pip install 'ssl-runner[ray]'"]) from error
        parameters = {"log_to_driver": False, "logging_level": "ERROR", "include_dashboard": False, **settings}
        needs = {"num_cpus": parameters.pop("cpus", 1), "num_gpus": parameters.pop("gpus", 0)}
        if "address" in settings:
            del parameters["include_dashboard"]
        try:
            ray.init(**parameters)
        except (ValueError, TypeError, ConnectionError, RuntimeError) as error:
            raise ConfigError([f"sweep.settings: ray refuses {settings}: {error}"]) from error
        self._ray = ray
        self._start = ray.remote(max_retries=0, **needs)(_do)
        total = ray.cluster_resources()
        self.slots = jobs or max(1, int(total.get("CPU", 1) // max(needs["num_cpus"], 1)))

    def start(self, file: Path, log: Path, devices: int) -> Handle:
        words = self._module, str(file.resolve()), str(log.resolve())
        return _Remote(self._ray, self._start.remote(*words, plugins.environment()), log)

    def close(self) -> None:
        self._ray.shutdown()


def _do(module: str, file: str, log: str, environment: dict[str, str]) -> int:
    """A job in a Ray worker: a process of its own, which is asked to save and end where the task is cancelled.

    `environment`: of the sweep's process, what a worker lacks.
    """
    command = [sys.executable, "-m", module, file, "--tied"]
    with open(log, "ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=os.environ | environment)
    try:
        return process.wait()
    except KeyboardInterrupt:  # ray.cancel
        process.send_signal(signal.SIGTERM)
        return process.wait()


class _Remote:
    def __init__(self, ray: Any, reference: Any, log: Path) -> None:
        self._ray = ray
        self._reference = reference
        self._log = log

    def poll(self) -> int | None:
        ready, _ = self._ray.wait([self._reference], timeout=0)
        if not ready:
            return None
        try:
            return int(self._ray.get(self._reference))
        except self._ray.exceptions.TaskCancelledError:
            return STOPPED
        except self._ray.exceptions.RayError as error:
            with self._log.open("a") as log:
                log.write(f"ray: {str(error).strip().splitlines()[0]}\n")
            return 1

    def stop(self) -> None:
        self._ray.cancel(self._reference)

    def kill(self) -> None:
        self._ray.cancel(self._reference, force=True)
