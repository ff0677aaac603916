# SPDX-License-Identifier: Apache-2.0
"""The package list; everything else is in setup.cfg.

The bundles lie at the top of the repository, where MONAI's users look for them, and travel inside the package as
``monai_iscs/bundles``: setup.cfg cannot say "found packages and this one", so this file does.
"""

from __future__ import annotations

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["monai_iscs", "monai_iscs.*"]), "monai_iscs.bundles"],
    package_dir={"monai_iscs.bundles": "bundles"},
)
