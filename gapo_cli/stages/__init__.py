"""One verb a file: what each gapo command does, on built objects and typed configs."""
