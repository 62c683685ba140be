import os
import subprocess
import sys
from pathlib import Path

import pytest

from ssl_runner.runtime.locks import LOCK, BusyError, is_held, locked


def test_looking_leaves_a_folder_as_it_is(tmp_path: Path) -> None:
    assert not is_held(tmp_path)
    assert not is_held(tmp_path / "nowhere")
    assert not list(tmp_path.iterdir())
    with locked(tmp_path):
        assert is_held(tmp_path)
        assert (tmp_path / LOCK).read_text() == str(os.getpid())
        with pytest.raises(BusyError, match=f"process {os.getpid()}"), locked(tmp_path):
            pass
    assert not is_held(tmp_path)


def test_two_that_look_do_not_see_each_other(tmp_path: Path) -> None:
    (tmp_path / LOCK).touch()
    code = (
        f"import fcntl; f = open({str(tmp_path / LOCK)!r}); fcntl.flock(f, fcntl.LOCK_SH); print(flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1) as looking:
        assert looking.stdout is not None
        looking.stdout.readline()
        assert not is_held(tmp_path)
        looking.communicate(b"\n")
