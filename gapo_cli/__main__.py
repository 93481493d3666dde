"""`python -m gapo_cli` is `gapo`."""

from gapo_cli.cli.entry import main

main()
