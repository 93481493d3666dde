"""Task sources: one file a source, each turns raw material into EditTasks."""
