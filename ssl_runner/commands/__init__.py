"""Console scripts: one file per command, each with `main`."""
