"""What a number is, and the file that holds the numbers of a run; without torch."""
