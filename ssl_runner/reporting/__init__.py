"""Reports of runs: tables, plots and pages. Needs no torch."""
