# SPDX-License-Identifier: Apache-2.0
"""What every format's reader gives: images, the geometry of all of them, and what their numbers are."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from monai_iscs.errors import InputError
from monai_iscs.operators import ConeBeamGeometry
from monai_iscs.scans.readers.options import KINDS, Options
from monai_iscs.scans.readers.stack import Stack, open_frames


@dataclass(frozen=True, kw_only=True)
class Recording:
    """Images as they were recorded.

    Attributes:
        stack: the images.
        geometry: of all of them.
        kind: of their numbers, one of `KINDS`; None: the format leaves it open.
        air: counts of a ray that meets nothing: a number, or an image (rows, columns); None: the format has none.
        dark: counts without X-rays, likewise.
        parallel: whether a far source stands for parallel rays.
        final: whether the reader has used what the user says about the numbers.
        position: of the patient where nobody says another; None: the frame is the patient's.
        water: attenuation of water per mm, where the format has it.
        notes: for the user, one sentence each.
    """

    stack: Stack
    geometry: ConeBeamGeometry
    kind: str | None = None
    air: float | np.ndarray | None = None
    dark: float | np.ndarray = 0.0
    parallel: bool = False
    final: bool = False
    position: str | None = None
    water: float | None = None
    notes: tuple[str, ...] = ()

    def checked(self) -> Recording:
        """The same, once its parts fit each other.

        Raises:
            InputError: another number of images than views, or other pixels than the detector's.
        """
        views, *pixels = self.stack.shape
        if views != self.geometry.views:
            raise InputError(f"found {views} images, expected the geometry's {self.geometry.views} views")
        if tuple(pixels) != self.geometry.detector_shape:
            expected = " x ".join(map(str, self.geometry.detector_shape))
            raise InputError(f"found {' x '.join(map(str, pixels))} pixels, expected the geometry's {expected}")
        return self

    def told(self, options: Options) -> Recording:
        """The same with what the user says about its numbers, which overrides what the format says.

        Raises:
            InputError: numbers of which nobody says what they are, or counts without an air value.
        """
        if self.final:
            return self
        self = replace(self, kind=options.kind) if options.kind else self
        given = [name for name in ("flat", "air", "dark") if getattr(options, name) is not None]
        if given and self.kind not in (None, "counts"):
            raise InputError(
                f"{given[0]}: found one for {self.kind}, expected none, or kind counts if the numbers are counts"
            )
        if self.kind is None and (given or self.stack.dtype.kind != "f"):
            self = replace(self, kind="counts")
        if self.kind is None:
            raise InputError(
                f"found {self.stack.dtype} numbers in a format that doesn't say what they are, expected their kind: "
                f"{' or '.join(KINDS)} (these with their air or flat)"
            )
        if self.kind == "transmission":
            return replace(self, air=1.0, dark=0.0)
        pixels = self.stack.shape[1:]
        if options.dark is not None:
            self = replace(self, dark=open_frames(options.dark, pixels, "dark"))
        if options.flat is not None:
            self = replace(self, air=open_frames(options.flat, pixels, "flat"))
        if options.air is not None:
            self = replace(self, air=float(options.air))
        if self.kind == "counts" and self.air is None:
            raise InputError(
                f"found counts ({self.stack.dtype}) without an air value, expected flat (images without the object) "
                "or air (counts without it)"
            )
        return self
