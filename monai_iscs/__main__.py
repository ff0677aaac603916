# SPDX-License-Identifier: Apache-2.0
"""``python -m monai_iscs`` is the command ``monai-iscs``."""

from __future__ import annotations

import sys

from monai_iscs.cli import main

sys.exit(main())
