"""Freed memory is kept where the C library can, and given back when that is asked for."""

import subprocess
import sys

import pytest

CODE = """
import resource, torch
from ssl_runner.runtime.malloc import keep_freed_memory, return_freed_memory
kept = keep_freed_memory()
for _ in range(20):
    torch.ones(2**23)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(2**23)  # 32 MB, 8,192 pages
kept_faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
return_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(2**23)
print(kept, kept_faults, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
@pytest.mark.thorough
def test_the_next_tensor_takes_the_pages_of_the_last() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    kept, faults, returned = done.stdout.split()
    if kept == "False":
        pytest.skip("another C library")
    assert int(faults) < 8192
    assert int(returned) > int(faults)  # mapped anew, as huge pages perhaps
