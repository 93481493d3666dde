"""The typed sections of the composed config; each checks itself before anything heavy is loaded."""
