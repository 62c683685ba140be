"""Code that all datasets share."""
