"""Metrics of predictions and their uncertainty."""
