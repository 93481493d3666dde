"""Advantage estimators: one file each, rewards (B, G) to Advantages."""
