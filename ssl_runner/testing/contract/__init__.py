"""Collected by pytest where --ssl-runner-plugin is given."""
