"""One file a command; each has `main(argv)` and is a console script."""
