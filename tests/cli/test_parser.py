# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys

import pytest

from monai_iscs import methods, sampling
from monai_iscs.cli import main
from monai_iscs.cli.parser import ORIENTATIONS, build_parser
from monai_iscs.precision import PRECISIONS
from monai_iscs.priors import published


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--views", "0"], "--views: found '0', expected a whole number of at least 1"),
        (["--views", "-3"], "--views: found '-3'"),
        (["--views", "2.5"], "--views: found '2.5'"),
        (["--steps", "0"], "--steps: found '0'"),
        (["--steps", "many"], "--steps: found 'many'"),
        (["--arc", "0"], "--arc: found '0', expected a number above 0, up to 360"),
        (["--arc", "-90"], "--arc: found '-90'"),
        (["--arc", "361"], "--arc: found '361'"),
        (["--photons", "0"], "--photons: found '0', expected a number above 0"),
        (["--photons", "-1e5"], "--photons: found '-1e5'"),
        (["--photons", "inf"], "--photons: found 'inf'"),
        (["--eta", "-0.1"], "--eta: found '-0.1', expected a number from 0 to 1"),
        (["--eta", "1.1"], "--eta: found '1.1'"),
        (["--eta", "nan"], "--eta: found 'nan'"),
        (["--seed", "-1"], "--seed: found '-1'"),
        (["--seed", str(2**64)], "expected a whole number of at least 0 and at most 9223372036854775807"),
        (["--seed", "nan"], "--seed: found 'nan'"),
        (["--steps", "1e23"], "--steps: found '1e23', expected a whole number"),
        (["--steps", "1" + 23 * "0"], "--steps: found '1000"),
        (["--views", 5000 * "9"], f"--views: found '{60 * '9'}...'"),
        (["--memory", "nan"], "--memory: found 'nan'"),
        (["--memory", "-1"], "--memory: found '-1'"),
        (["--slice-batch", "0"], "--slice-batch: found '0'"),
        (["--photons", "1e300"], "--photons: found '1e300', expected a number above 0, up to 1e+15"),
        (["--noise-std", "1e300"], "--noise-std: found '1e300'"),
        (["--smoothing", "1e9"], "--smoothing: found '1e9', expected a number from 0 to 1000"),
        (["--smoothing", "inf"], "--smoothing: found 'inf'"),
        (["--noise-level", "-0.1"], "--noise-level: found '-0.1'"),
        (["--noise-std", "nan"], "--noise-std: found 'nan'"),
        (["--factor", "inf"], "--factor: found 'inf'"),
        (["--output", ""], "--output: found ''"),
        (["--output", " "], "--output: found ' '"),
        (["--output", "~nosuchuser/out"], "expected the folder of a user that exists"),
        (["--bundle", "~nosuchuser/bundle"], "expected the folder of a user that exists"),
        (["--bundle", ""], "--bundle: found ''"),
        (["--method", "magic"], "dds"),
        (["--method", "dds+pink"], "iscs, identical, identical-steps"),
        (["--noise", "slerp"], "dds+iscs is Slerp noise"),
        (["--preset", "fast"], "found 'fast', expected --recipe NAME"),
        (["--recipe", "best"], "found 'best', expected one of default, fast, limited-angle, deterministic, released"),
        (["--colour", "red"], "--colour"),
    ],
)
def test_unusable_options_are_one_line_that_names_them(capsys, bundle, body, arguments, expected):
    # "--option=value", so that a negative number is not read as another option
    given = [f"{arguments[0]}={arguments[1]}"]
    assert main(["reconstruct", str(body), "--bundle", str(bundle), "--output", "out", *given]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("monai-iscs: error: ")
    assert captured.err.count("\n") == 1
    assert arguments[0] in captured.err
    assert expected in captured.err


@pytest.mark.parametrize(
    "arguments", [[], ["cook"], ["evaluate", "a", "b"], ["train"], ["convert"], ["reconstruct", "a"]]
)
def test_incomplete_commands(capsys, arguments):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("monai-iscs: error: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("verb", ["demo", "reconstruct", "evaluate", "train", "convert"])
def test_help_says_what_goes_in_and_what_comes_out(capsys, verb):
    with pytest.raises(SystemExit) as stop:
        build_parser().parse_args([verb, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "What comes out:" in text
    assert f"monai-iscs {verb}" in text.split("example:")[1]
    assert max(map(len, text.splitlines())) <= 120


def test_orientations_of_the_command_line_are_those_of_the_loader():
    assert ORIENTATIONS == published.ORIENTATIONS


def test_names_of_methods_stand_for_things_that_exist():
    assert tuple(sampling.SAMPLERS) == methods.SAMPLERS
    assert tuple(sampling.NOISES) == methods.NOISES


def test_help_does_not_wait_for_pytorch():
    code = "import sys; from monai_iscs.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "reconstruct" in done.stdout


def test_version_is_the_package_s(capsys):
    from monai_iscs import __version__

    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.strip() == __version__


def test_the_precisions_are_those_of_the_inferer():
    given = ["reconstruct", ".", "--bundle", "body_ct_reconstruction", "--output", "out", "--precision"]
    for name in PRECISIONS:
        assert build_parser().parse_args([*given, name]).precision == name


@pytest.mark.parametrize("verb", ["reconstruct", "benchmark", "evaluate", "train", "convert"])
def test_help_says_that_a_bundle_is_code(capsys, verb):
    with pytest.raises(SystemExit):
        build_parser().parse_args([verb, "--help"])
    assert "A bundle is code" in capsys.readouterr().out
