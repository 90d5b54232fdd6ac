"""``python -m gpuseg`` is ``gpuseg``, also where the command is not on the path."""

from gpuseg.cli import main

main()
