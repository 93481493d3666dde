"""gapo: reinforcement learning for models that edit code."""
