"""From what is typed to one Experiment; the only room that knows Hydra."""
