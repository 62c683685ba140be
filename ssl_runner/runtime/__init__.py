"""The process and its machine: devices, signals, locks, files, the terminal."""
