# SPDX-License-Identifier: Apache-2.0
"""A bundle, ready to use: its config, its device and network, and the steps from a file to a volume and back."""
