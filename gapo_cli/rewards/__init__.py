"""Rewards: one file each, texts to scores in [0, 1]."""
