"""Random views of examples, batched, on the batch's device."""
