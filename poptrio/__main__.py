"""``python -m poptrio`` is the command ``poptrio``."""

from poptrio.cli import main

if __name__ == "__main__":
    main()
