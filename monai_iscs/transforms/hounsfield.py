# SPDX-License-Identifier: Apache-2.0
"""Recognising Hounsfield units by the physics of a body and the air around it."""

from __future__ import annotations

import math

import torch

BOUND = 2**16  # no HU are larger: metal reaches 30,000 on extended scales, and padding is 16-bit at most
SAMPLES = 2**22  # voxels that are looked at, evenly spread
PADDING_BELOW = -1100  # HU; only noise, streaks and padding are below air
PADDINGS = (-(2**15), -(2**13))  # values below -4096 that are known as padding
EMPTY = -1000  # HU; a frequent exact value at or below it is padding, clipped air or a phantom's: it is ignored
LEAST_SHARE = 1e-3  # of the voxels: must be tissue; of an exact value: makes it a frequent one
DARK_BELOW = -500  # HU: air, lungs, gas
LEAST_DARK = 0.05  # share of dark voxels above which they are checked to be air or lung
DARKEST = -775  # HU; 2 % of the dark voxels are below, even in a crop of dense lung
AIR = (-1060, -880)  # HU of its peak: noise, calibration, and the clipping at -1024 move it; of an even lung's, too
SHARP, WIDTH = 0.6, 25  # no lung has so large a share of its dark voxels within so many HU of their peak
TISSUE = (-300, 500)  # HU of the commonest tissue: from the vessels of a lung to blood with contrast
BETWEEN = (-520, -200)  # HU: denser than lung, lighter than fat; only found at borders
MOST_BETWEEN = 0.3  # share of voxels there
NOWHERE = (-780, -180)  # HU; lungs spread over it, and air peaks there only if HU were scaled
RIDGE, BESIDE = 15, 60  # HU: half the width of a peak of air, and the distance from it at which it has ended
LEAST_RIDGE = 0.08  # share of all voxels in such a peak
DARKER, LIGHTER = 20, 1.2  # times more than beside it on the dark side, and in air; than beside it on the light side
FATTY = (-160, -50)  # HU of fat; air is there if values are a tenth of HU
LEAN = (20, 200)  # HU of muscle, organs and marrow; water's noise reaches it
LEAST_FATTY, LEAST_LEAN = 0.15, 0.14  # with that share of fat, at least so much of what is denser is lean
BONE_ABOVE = 500  # HU
STORED = (850, 1250)  # where soft tissue lies in stored values, 1000 or 1024 above HU
LEAST_BRIGHT = 0.01  # share in that range that counts
LEAST_STORED = 0.2  # the same if the air may be real: no phantom's skull has so many voxels there
SPIKE = 0.05  # share of voxels at the minimum that a background or a window leaves
LEAST_SPREAD = 20  # HU between the first and the last thousandth of the voxels; noise alone gives more


class _Histogram:
    """Counts of whole HU from -4096 to 4096; values outside count at the ends."""

    def __init__(self, values: torch.Tensor) -> None:
        bins = (values.clamp(-4096, 4096) + 4096).round().long()
        self.counts = torch.bincount(bins, minlength=8193).double()

    def between(self, low: int, high: int) -> float:
        """Voxels from `low` to below `high`."""
        return float(self.counts[max(low + 4096, 0) : max(high + 4096, 0)].sum())

    def peak(self, low: int, high: int) -> int:
        """The commonest value from `low` to below `high`, of a window of 21 HU."""
        part = self.counts[low + 4096 : high + 4096]
        smooth = torch.nn.functional.avg_pool1d(part[None, None], 21, 1, 10, count_include_pad=False)[0, 0]
        return low + int(smooth.argmax())

    def quantile(self, share: float, low: int, high: int) -> int:
        """The value that `share` of the voxels from `low` to below `high` lie below."""
        total = self.counts[low + 4096 : high + 4096].cumsum(0)
        return low + int(torch.searchsorted(total, share * total[-1]))


def not_hounsfield(values: torch.Tensor) -> str | None:
    """Why finite `values` can't be HU of a CT, or None if they can.

    Padding, one exact value below all of air, is left out. Then air is near -1000 HU if there is air, tissue near 0,
    and nothing looks like stored values, a window of HU, MR magnitudes or labels.

    Args:
        values: of a volume, any shape.
    """
    low, high = float(values.min()), float(values.max())
    if max(-low, high) > BOUND:
        return f"reach from {low:.4g} to {high:.4g}"
    step = math.ceil(values.numel() / SAMPLES) | 1
    voxels = values.reshape(-1)[::step].float()
    lowest = voxels == low
    at_lowest = float(lowest.float().mean())
    flat = low <= EMPTY and at_lowest >= LEAST_SHARE
    if flat and low < -4096 and low not in PADDINGS:
        return f"have {at_lowest:.1%} of the voxels at {low:g}, which is neither air nor a known padding"
    rest = voxels[~lowest] if flat else voxels
    histogram, count = _Histogram(rest), max(len(rest), 1)
    tissue = histogram.between(TISSUE[0], 4097) / count
    if tissue < LEAST_SHARE:
        return f"have {tissue:.2%} above {TISSUE[0]}, too few for tissue"
    common = histogram.peak(TISSUE[0], 4097)
    if common > TISSUE[1]:
        return f"have their commonest tissue at {common}"
    if histogram.between(*BETWEEN) > MOST_BETWEEN * count:
        return f"have {histogram.between(*BETWEEN) / count:.0%} from {BETWEEN[0]} to {BETWEEN[1]}, where no tissue is"
    wrong = _wrong_ridge(histogram, count, clipped=at_lowest * len(voxels) if low == EMPTY else 0)
    if wrong is not None:
        return wrong
    if histogram.between(-4096, DARK_BELOW) >= LEAST_DARK * count:
        return _wrong_air(histogram if low < PADDING_BELOW else _Histogram(voxels))
    dense = histogram.between(FATTY[1], 4097)
    if histogram.between(*FATTY) >= LEAST_FATTY * count and histogram.between(*LEAN) < LEAST_LEAN * dense:
        return f"have {histogram.between(*LEAN) / dense:.1%} of what is above {FATTY[1]} from {LEAN[0]} to {LEAN[1]}"
    if flat:
        return _wrong_stored(histogram, count, LEAST_STORED if low >= PADDING_BELOW else LEAST_BRIGHT)
    stored = _wrong_stored(histogram, count, LEAST_BRIGHT)
    return _wrong_inside(histogram, count, low=low, at_lowest=at_lowest) or stored


def _wrong_ridge(histogram: _Histogram, count: int, *, clipped: float) -> str | None:
    """Whether there is a peak that neither lung nor air can have, and hardly any real air, `clipped` or not."""
    peak = histogram.peak(*NOWHERE)
    here, darker, lighter = (
        histogram.between(peak + shift - RIDGE, peak + shift + RIDGE + 1) for shift in (0, -BESIDE, BESIDE)
    )
    least = max(LEAST_RIDGE * count, LIGHTER * lighter, DARKER * max(darker, histogram.between(*AIR) + clipped))
    if here > least:
        return f"have a sharp peak at {peak}, where neither air nor tissue is"
    return None


def _wrong_air(histogram: _Histogram) -> str | None:
    """What is wrong with the dark voxels of a volume with air or lungs."""
    dark = histogram.between(-4096, DARK_BELOW)
    if histogram.between(-4096, PADDING_BELOW) > dark / 4:
        return f"have {histogram.between(-4096, PADDING_BELOW) / dark:.0%} of their air below {PADDING_BELOW}"
    peak = histogram.peak(-4096, DARK_BELOW)
    sharp = histogram.between(peak - WIDTH, peak + WIDTH + 1) / dark
    if not AIR[0] <= peak <= AIR[1] and sharp > SHARP:
        return f"have their air at {peak}"
    darkest = histogram.quantile(0.02, -4096, DARK_BELOW)
    if darkest > DARKEST:
        return f"have air or lungs, but hardly anything below {darkest}"
    return None


def _wrong_stored(histogram: _Histogram, count: int, least: float) -> str | None:
    """Whether `least` of all voxels or more, and most of the bright ones, lie where stored values have soft tissue."""
    stored = histogram.between(*STORED)
    if stored >= least * count and stored > 0.6 * histogram.between(BONE_ABOVE, 4097):
        return f"have {stored / count:.0%} from {STORED[0]} to {STORED[1]} and no air, as without a rescale intercept"
    return None


def _wrong_inside(histogram: _Histogram, count: int, *, low: float, at_lowest: float) -> str | None:
    """What is wrong with a volume without air, such as a crop inside the body."""
    first, last = (histogram.quantile(share, -4096, 4097) for share in (0.001, 0.999))
    if last - first < LEAST_SPREAD:
        return f"differ by hardly more than {last - first}: line integrals without their geometry?"
    if at_lowest >= SPIKE and (low == 0 or low < -120):
        return f"have {at_lowest:.1%} of the voxels at the lowest, {low:g}, and no air"
    if histogram.between(-4096, -5) < LEAST_SHARE * count:
        common = histogram.peak(-4096, 4097)
        if common - first < (histogram.quantile(0.99, -4096, 4097) - common) / 8:
            return f"have nothing below 0, and their commonest value, {common}, at their dark end"
    return None
