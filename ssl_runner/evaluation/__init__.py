"""What a frozen encoder is worth: one file, one evaluator."""
