"""The command line: names, help and exit codes. Imports nothing heavy.

Exit codes: 0 done, 1 something failed, 2 a mistake in what was asked for, 130 stopped with Ctrl-C, 143 by SIGTERM, 129 by SIGHUP.
"""
