# SPDX-License-Identifier: Apache-2.0
"""Public data sets, from the archive as it is downloaded to a folder for training."""
