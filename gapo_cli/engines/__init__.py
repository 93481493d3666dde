"""Rollout engines: token prompts and sampling settings to completions."""
