"""What estimators make of rewards that were saved: no model, no torch."""
