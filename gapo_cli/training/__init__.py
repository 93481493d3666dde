"""The life of a run, and what it is made of."""
