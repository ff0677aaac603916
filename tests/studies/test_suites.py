# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from monai_iscs.studies.suites import SUITES
from monai_iscs.workflows.pipeline import Pipeline


@pytest.mark.parametrize("name", SUITES)
def test_the_rows_of_a_suite_have_different_names(name):
    labels = [row.label for row in SUITES[name].rows(["fdk"])]
    assert len(set(labels)) == len(labels) > 1


def test_table_1_has_the_paper_s_rows():
    labels = [row.label for row in SUITES["table1"].rows(["fdk", "admm-tv"])]
    assert labels == ["FDK", "ADMM-TV", "DDNM", "DDNM+ISCS", "DDS", "DDS+TV", "DDS+ISCS"]


@pytest.mark.parametrize("name", ["table4", "table5"])
def test_tables_4_and_5_have_the_paper_s_rows_and_iscs_inside(name):
    labels = [row.label for row in SUITES[name].rows([])]
    blends = ["DiffusionBlend", "DiffusionBlend+ISCS"]
    thin = ["DDS", "DDS+ISCS", "TPDM", "TPDM+ISCS", *blends]
    assert labels == [*thin, *(f"{label}, 5 mm" for label in ["DDS", "DDS+ISCS", *blends])]


@pytest.mark.parametrize("name", SUITES)
def test_every_label_says_the_noise(name):
    labels = {None: "", "independent": "", "iscs": "+ISCS", "identical": "+BCS", "identical-steps": "+BCS (steps only)"}
    for row in SUITES[name].rows(["fdk"]):
        base = row.label.split(",")[0].split("+", 1)[-1].removeprefix("TV").removeprefix("+")
        assert base.upper() in {labels[row.noise].removeprefix("+").upper(), row.method.upper().removesuffix("-TV")}


def test_the_bundle_s_own_method_is_a_row_where_it_is_another_one(bundle):
    suite = SUITES["image-quality"]
    common = ["FDK", "ADMM-TV", "DDS", "DDS+ISCS"]
    assert [row.label for row in suite.rows_for(Pipeline(bundle, overrides={}))] == common
    changed = Pipeline(bundle, overrides={"method": "dds+tv+iscs"})
    assert [row.label for row in suite.rows_for(changed)] == [*common, "DDS+TV+ISCS, the bundle's"]
    assert [row.label for row in SUITES["table3"].rows_for(changed)][-1] == "DDS+ISCS"
