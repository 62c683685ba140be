"""Types of metrics, and the files of a run's results; without torch."""
