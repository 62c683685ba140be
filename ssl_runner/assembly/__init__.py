"""Construction of objects from a config, and export to files."""
