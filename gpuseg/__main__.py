"""``python -m gpuseg`` is ``gpuseg``, also where the command is not on the path."""

from gpuseg.cli import main

if __name__ == "__main__":
    main()
