"""`python -m runner` is `runner`."""

from runner.cli.main import main

main()
