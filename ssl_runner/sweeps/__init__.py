"""Sweeps: many runs, planned, started in separate processes, monitored, summarized."""
