"""What engines that ask a server are built of."""
