# SPDX-License-Identifier: Apache-2.0
"""The names of methods: one grammar for commands, configs and recipes; quick to import."""

from __future__ import annotations

from typing import NamedTuple

from monai_iscs.errors import InputError

SAMPLERS = ("dds", "ddnm", "dds+tv")
PRIORS = ("diffusionblend", "tpdm")  # DDS with a prior that knows three dimensions, of bundles that have one
NOISES = ("iscs", "identical", "identical-steps", "kernel", "adaptive", "noiseless")
INDEPENDENT = "independent"  # the noise of a sampler whose name has none
BASELINES = ("fdk", "helical-fbp", "sirt", "admm-tv", "cubic")
ALIASES = {"slerp": "iscs"}  # accepted as input, never shown
_NOISE_LABELS = {
    "iscs": "ISCS",
    "identical": "BCS",
    "identical-steps": "BCS (steps only)",
    "kernel": "kernel",
    "adaptive": "adaptive",
    "noiseless": "noiseless",
}
_LABELS = {"cubic": "Cubic", "diffusionblend": "DiffusionBlend"}


class Method(NamedTuple):
    """A way to reconstruct.

    Attributes:
        name: one of `SAMPLERS`, `PRIORS` or `BASELINES`.
        noise: one of `NOISES`, or `INDEPENDENT`; None for a baseline, which draws none.
    """

    name: str
    noise: str | None = None

    @property
    def text(self) -> str:
        """The name that `parse_method` reads as this method."""
        return "+".join(filter(None, (self.name, self.noise if self.noise != INDEPENDENT else None)))

    @property
    def label(self) -> str:
        """Its name in tables, figures and files, such as DDS+ISCS; `parse_method` reads most labels too."""
        base = _LABELS.get(self.name, self.name.upper())
        return "+".join(filter(None, (base, _NOISE_LABELS.get(self.noise))))


def parse_method(text: str) -> Method:
    """The method of a name such as ``fdk``, ``dds``, ``dds+iscs`` or ``dds+tv+iscs``.

    Raises:
        InputError: an unknown name, additions to a baseline, or an error of `parse_sampler`.
    """
    name, additions = _parts(text)
    if name in BASELINES:
        if additions:
            raise InputError(f"method: found {text!r}, expected {name} alone: it draws no noise")
        return Method(name)
    if name not in (*SAMPLERS, *PRIORS):
        known = ", ".join((*SAMPLERS, *PRIORS))
        raise InputError(
            f"method: found {text!r}, expected one of {', '.join(BASELINES)}, or one of {known} "
            f"followed, where its noise is not independent, by +{', +'.join(NOISES)}"
        )
    return parse_sampler(text)


def parse_sampler(text: str) -> Method:
    """The method of a sampler's name; it draws independent noise unless the name has another one.

    ``dds-tv`` is ``dds+tv``.

    Raises:
        InputError: an unknown name, additions in another order, or additions that the sampler cannot have.
    """
    name, additions = _parts(text)
    if name not in (*SAMPLERS, *PRIORS):
        known = ", ".join((*SAMPLERS, *PRIORS))
        raise InputError(f"method: found {text!r}, expected one of {known}, and a noise after it")
    if "tv" in additions[1:] and additions.count("tv") == 1:
        ordered = "+".join([name, "tv", *(addition for addition in additions if addition != "tv")])
        raise InputError(f"method: found {text!r}, expected tv before the noise: {ordered}")
    if additions[:1] == ["tv"]:
        if f"{name}+tv" not in SAMPLERS:
            raise InputError(f"method: found {text!r}, expected tv with dds only")
        name, additions = f"{name}+tv", additions[1:]
    if len(additions) > 1 or not set(additions) <= set(NOISES):
        raise InputError(
            f"method: found {text!r}, expected {name} with at most one noise of {', '.join(NOISES)}; without one it "
            "draws independent noise"
        )
    return Method(name, additions[0] if additions else INDEPENDENT)


def _parts(text: str) -> tuple[str, list[str]]:
    name, *additions = text.strip().lower().replace("dds-tv", "dds+tv").split("+")
    return name, [ALIASES.get(addition, addition) for addition in additions]
