"""Prepared task sets on disk."""
