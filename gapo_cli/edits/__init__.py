"""The text of edits: matching, diffs, measures."""
