"""Genetic search: genomes, selection, breeding, and what a run is worth."""
