"""`python -I -m sgehub.session LAUNCHFILE`: the same as the command sgehub-session."""

from __future__ import annotations

import sys

from sgehub.session.main import main

sys.exit(main())
