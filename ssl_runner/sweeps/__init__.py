"""Many runs: planned, started in processes of their own, watched, summed up."""
