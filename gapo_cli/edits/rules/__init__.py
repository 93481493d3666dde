"""Answers that follow from the history by a rule, without a model."""
