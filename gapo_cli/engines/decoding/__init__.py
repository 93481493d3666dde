"""What the torch engine is built of."""
