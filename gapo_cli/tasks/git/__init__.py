"""What mining a repository is made of."""
