"""Prompt templates: EditTask to prompt, completion text back to the edited region."""
