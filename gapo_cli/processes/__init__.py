"""A run on several processes: which of them this one is, and what they tell each other."""
