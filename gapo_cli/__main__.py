"""`python -m gapo_cli` is `gapo`."""

from gapo_cli.cli import main

main()
