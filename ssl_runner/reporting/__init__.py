"""What is left of a run: result files, tables, plots and pages. Needs no torch."""
