# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
import shutil

import pytest

import monai_iscs.datasets.preparing as preparing
from monai_iscs.datasets.archives import ARCHIVES
from monai_iscs.engines import list_volumes
from monai_iscs.errors import InputError, InputWarning

CASES = ("BDMAP_00000001", "BDMAP_00000002", "BDMAP_00000003")


@pytest.fixture
def cases(archive, save_volume, hu):
    for case in CASES:
        (archive / case).mkdir()
        save_volume(archive / case / "ct.nii.gz", hu)
    return archive


def manifest(output):
    with (output / "manifest.csv").open() as lines:
        return {row["file"]: row for row in csv.DictReader(lines)}


def test_the_manifest_is_what_training_reads(cases, prepare):
    output = prepare("abdomen-atlas")
    found = {file for split in ("train", "val") for file in list_volumes(output / split)}
    assert {str(output / file) for file in manifest(output)} == found
    for row in manifest(output).values():
        assert row["dataset"] == "AbdomenAtlas"
        assert row["licence"].startswith("CC BY-NC-SA 4.0")
        assert row["doi"] == "10.1016/j.media.2024.103285"


def test_a_stopped_run_goes_on_where_it_stopped(cases, prepare, monkeypatch, tree):
    def stop_at_third(*arguments, **options):
        written.append(arguments[0])
        if len(written) == 3:
            arguments[0].write_bytes(b"half of it")
            raise KeyboardInterrupt
        return write(*arguments, **options)

    written, write = [], preparing.write_volume
    with monkeypatch.context() as patch:
        patch.setattr(preparing, "write_volume", stop_at_third)
        with pytest.raises(KeyboardInterrupt):
            prepare("abdomen-atlas")
    output = written[0].parents[2]
    first = sorted(output.rglob("*.nii.gz"))
    assert len(first) == 2
    assert tree(output) == {"prepare.json", *(str(file.relative_to(output)) for file in first)}
    before = {file: file.stat().st_ino for file in first}
    prepare("abdomen-atlas")
    assert {file: file.stat().st_ino for file in first} == before  # kept, not written again
    assert len(manifest(output)) == 3


def test_what_a_killed_run_left_is_removed(cases, prepare, tree):
    output = prepare("abdomen-atlas")
    (output / "train" / ".monai-iscs-partial").mkdir()
    (output / "train" / ".monai-iscs-partial" / "BDMAP_00000009.nii.gz").write_bytes(b"half of it")
    for file in (output / "train").glob("*.nii.gz"):
        file.unlink()
    prepare("abdomen-atlas")
    assert len(tree(output)) == 6


def test_a_data_set_in_parts(cases, prepare, save_volume, hu):
    """What was downloaded first may be removed before the rest comes, and stays in the manifest."""
    output = prepare("abdomen-atlas")
    splits = {row["patient"]: row["split"] for row in manifest(output).values()}
    (validated,) = (case for case in CASES if splits[case] == "val")
    removed, *_ = (case for case in CASES if case != validated)
    shutil.rmtree(cases / removed)
    (cases / "BDMAP_00000020").mkdir()
    save_volume(cases / "BDMAP_00000020" / "ct.nii.gz", hu)
    prepare("abdomen-atlas")
    assert {row["patient"] for row in manifest(output).values()} == {*CASES, "BDMAP_00000020"}


def test_a_patient_who_changes_the_split_is_refused(cases, prepare):
    output = prepare("abdomen-atlas")
    file = output / "manifest.csv"
    for row in manifest(output).values():
        other = "train" if row["split"] == "val" else "val"
        file.write_text(file.read_text().replace(f",{row['split']},{row['source']}", f",{other},{row['source']}"))
    with pytest.raises(InputError, match=r"manifest.csv: found patient BDMAP_\d+ in .*, expected .* as now"):
        prepare("abdomen-atlas")


def test_a_volume_in_two_splits_is_refused(cases, prepare):
    output = prepare("abdomen-atlas")
    file = next((output / "train").iterdir())
    shutil.copy(file, output / "val" / file.name)
    with pytest.raises(InputError, match=f"val/{file.name}: found a file that is not one of the volumes to prepare"):
        prepare("abdomen-atlas")


def test_the_folder_of_another_data_set(cases, prepare, archive, save_volume, brain, affine):
    output = prepare("abdomen-atlas")
    for name in ("IXI002-Guys-0828-T1.nii.gz", "IXI012-HH-1211-T1.nii.gz"):
        save_volume(archive / name, brain, affine)
    with pytest.raises(InputError, match=f"{output}: found volumes of abdomen-atlas, expected those of ixi"):
        prepare("ixi")


@pytest.mark.parametrize("name", ["notes.txt", "manifest.csv", "prepare.json"])
def test_the_folder_of_a_user(cases, prepare, tmp_path, tree, name):
    output = tmp_path / "prepared"
    output.mkdir()
    (output / name).write_text("mine")
    with pytest.raises(InputError, match=rf"found files of something else \({name}\), expected a new folder"):
        prepare("abdomen-atlas")
    assert tree(output) == {name}
    assert (output / name).read_text() == "mine"


def test_an_unusable_volume_can_be_skipped(cases, prepare, save_volume, hu):
    damaged = cases / CASES[2] / "ct.nii.gz"
    damaged.write_bytes(damaged.read_bytes()[:200])
    with pytest.raises(InputError, match=f"{damaged}: found"):
        prepare("abdomen-atlas")
    with pytest.warns(InputWarning, match=f"left out: {damaged}: found"):
        output = prepare("abdomen-atlas", skip_unusable=True)
    assert {row["patient"] for row in manifest(output).values()} == set(CASES[:2])


def test_nothing_usable_is_an_error(cases, tmp_path, prepare):
    for case in CASES:
        (cases / case / "ct.nii.gz").write_bytes(b"nothing")
    with pytest.warns(InputWarning), pytest.raises(InputError, match="found no volumes, expected volumes of some"):
        prepare("abdomen-atlas", skip_unusable=True)
    assert not list((tmp_path / "prepared").iterdir())


def test_a_full_disk_is_not_skipped(cases, small_disk):
    disk = small_disk(megabytes=0.008, files=50)
    volumes = preparing.find_volumes(ARCHIVES["abdomen-atlas"], cases)
    with pytest.raises(InputError, match=f"{disk}.*the disk is full"):
        preparing.prepare_volumes(ARCHIVES["abdomen-atlas"], volumes, disk, skip_unusable=True)
    assert not list(disk.rglob("*.nii.gz"))


@pytest.mark.parametrize("archive", ARCHIVES.values(), ids=list(ARCHIVES))
def test_the_terms_say_what_was_never_tried(archive):
    assert "never on the archive itself" in archive.terms()
    assert archive.licence in archive.terms()
    assert all(citation in archive.terms() for citation in archive.citations)
    assert set(ARCHIVES) == set(preparing._FINDERS)
