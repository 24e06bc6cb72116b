"""`python -m anajax.cli` runs the command, too."""

import sys

from anajax.cli import main

if __name__ == "__main__":
    sys.exit(main())
