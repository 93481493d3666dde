"""Where log-ratios and what is made of them are cut, so that no single token can outweigh a batch. verl's bounds."""

LOG_RATIO_BOUND = 20.0
"""Nats, before exp(): 4.9e8 is far beyond any clip, and its square still fits float32."""
KL_BOUND = 10.0
"""Of one token's KL estimate."""
