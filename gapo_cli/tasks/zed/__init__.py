"""What reading and writing Zed's example files is made of."""
