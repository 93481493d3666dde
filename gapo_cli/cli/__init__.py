"""The command line: names, help and exit codes. Imports nothing heavy.

Exit codes: 0 done, 1 something failed, 2 a mistake in what was asked for, 130 stopped with Ctrl-C, and 128
more than its number by another signal: 143 by SIGTERM, 129 by SIGHUP, 138 by SIGUSR1.
"""
