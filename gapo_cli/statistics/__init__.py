"""Intervals, reward shapes, comparisons over seeds."""
