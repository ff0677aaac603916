# SPDX-License-Identifier: Apache-2.0
"""Benchmarks of methods: suites, their cells and their tables."""
