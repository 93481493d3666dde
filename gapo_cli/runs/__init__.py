"""A run's folder: what it holds, and the readers and writers of each file."""
