"""`python -m hefed` is `hefed`."""

from hefed.cli import main

main()
