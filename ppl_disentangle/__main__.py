"""``python -m ppl_disentangle`` is ``ppl-disentangle``."""

import sys

from ppl_disentangle.cli.main import main

sys.exit(main())
