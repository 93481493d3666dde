"""What `gapo doctor` checks: this machine, and the invariants of training on it."""
