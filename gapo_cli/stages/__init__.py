"""One verb a file, on built objects and typed configs."""
