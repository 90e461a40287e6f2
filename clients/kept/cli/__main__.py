"""`python -m kept.cli`: the `kept` command where no script of that name was installed."""

import sys

from kept.cli import main

sys.exit(main())
