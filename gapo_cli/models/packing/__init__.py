"""A group as one row: the prompt once, its completions beside each other."""
