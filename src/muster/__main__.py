"""`python -m muster` is `muster`."""

import sys

from muster.cli.parser import main

sys.exit(main())
