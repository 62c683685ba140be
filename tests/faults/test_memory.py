"""Memory over a long run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

STEPS = 10_000
RUN = """
import json, resource, sys
from pathlib import Path
from ssl_runner.config.request import RunRequest
from ssl_runner.commands.run import run
from ssl_runner.config import compose, typed
from ssl_runner.loggers.metrics_file import MetricsFile

written, write = {}, MetricsFile.log_metrics

def log_metrics(self, metrics, step):
    write(self, metrics, step)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    written[step] = pages * resource.getpagesize()

MetricsFile.log_metrics = log_metrics
plain = compose(sys.argv[2:])
run(RunRequest.of(plain))
Path(sys.argv[1]).write_text(json.dumps(written))
"""
SMALL = [
    "dataset=fake_images", "dataset.examples=200", "dataset.test_examples=20", "dataset.height=8", "dataset.width=8",
    "backbone.widths=[4,8]", "batch_size=4", "logger=csv", "budget.unit=steps", f"budget.amount={STEPS}",
    "evaluation=[knn]", "controls=[]", "trainer.accelerator=cpu", "trainer.validations=20", "trainer.watch_every=500",
    "trainer.log_every_n_steps=100", "trainer.checkpoint_minutes=0.05", "trainer.precision=float32",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/statm")
@pytest.mark.parametrize("objective", ["rotation", "moco"])
def test_memory_does_not_grow(tmp_path: Path, objective: str) -> None:
    """Resident memory at step 10,000 within 2 % of that at step 1,000: with validations, watches and checkpoints."""
    report = tmp_path / "memory.json"
    words = [*SMALL, f"objective={objective}", f"output={tmp_path}"]
    subprocess.run([sys.executable, "-c", RUN, str(report), *words], check=True)
    resident = {int(step): size for step, size in json.loads(report.read_text()).items()}
    print({step: round(size / 2**20, 1) for step, size in resident.items() if step % 1000 == 0})
    assert abs(resident[STEPS] / resident[1000] - 1) < 0.02
