"""Our estimators, rewards and tasks inside other trainers."""
