"""``python -m vegas_fl``: the command ``vegas-fl``."""

from vegas_fl.cli.main import main

main()
