"""Loading models and computing token log-probabilities."""
