"""Changes of a task that leave its answer what it is: what a real editor varies, one kind a file."""
