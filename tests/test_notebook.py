"""The notebook in examples/, executed as it stands, in a kernel of its own."""

from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")
pytest.importorskip("pandas")

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of nbclient and zmq
@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES.parent))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "commit it without outputs"
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in shown)
    printed = "".join(output.get("text", "") for output in shown)
    assert "backbone=resnet18 is a map encoder" in printed
    (table,) = [output["data"]["text/html"] for output in shown if "text/html" in output.get("data", {})]
    assert "knn.accuracy" in table
    lines = [output["data"]["text/plain"] for output in shown if output.output_type == "display_data"]
    progress = [line for line in lines if line.startswith("pretraining")]
    assert len(progress) == 2, "a line a run that is not quiet, which is replaced"
    assert all(line.startswith("pretraining 100%") for line in progress)
    assert "  loss " not in printed
