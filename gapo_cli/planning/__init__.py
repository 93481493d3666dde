"""What `gapo plan` is made of: shapes, operations, memory, speed."""
