"""Tasks to scored groups with advantages: encode, sample, score, penalise, estimate."""
