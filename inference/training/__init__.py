"""The training loop: batches, steps, checkpoints, and steps compiled to graphs."""
