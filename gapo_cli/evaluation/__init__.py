"""Predictions measured."""
