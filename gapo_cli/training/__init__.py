"""The training loops, the optimizer and checkpoints."""
