# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from monai_iscs.cli.suites import SUITES, parse_method
from monai_iscs.errors import InputError


@pytest.mark.parametrize(
    ("text", "method", "noise", "label"),
    [
        ("fdk", "fdk", None, "FDK"),
        ("dds", "dds", "independent", "DDS"),
        ("DDS+slerp", "dds", "slerp", "DDS+ISCS"),
        ("ddnm+identical", "ddnm", "identical", "DDNM+BCS"),
        ("dds+tv", "dds-tv", "independent", "DDS+TV"),
        ("dds+tv+slerp", "dds-tv", "slerp", "DDS+TV+ISCS"),
    ],
)
def test_a_method_is_a_name_and_a_noise(text, method, noise, label):
    row = parse_method(text)
    assert (row.method, row.noise, row.label) == (method, noise, label)


@pytest.mark.parametrize("text", ["ddd", "dds+pink", "fdk+slerp", "dds+slerp+identical", "fdk+tv", ""])
def test_unknown_methods_are_refused(text):
    with pytest.raises(InputError, match="method is"):
        parse_method(text)


@pytest.mark.parametrize("name", SUITES)
def test_the_rows_of_a_suite_have_different_names(name):
    labels = [row.label for row in SUITES[name].rows(["fdk"])]
    assert len(set(labels)) == len(labels) > 1


def test_table_1_has_the_paper_s_rows():
    labels = [row.label for row in SUITES["table1"].rows(["fdk", "admm-tv"])]
    assert labels == ["FDK", "ADMM-TV", "DDNM", "DDNM+ISCS", "DDS", "DDS+TV", "DDS+ISCS"]
