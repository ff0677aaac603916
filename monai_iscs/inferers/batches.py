# SPDX-License-Identifier: Apache-2.0
"""The prior on a stack of slices: in batches that fit the device, in the arithmetic that it is fast in."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from monai_iscs.errors import InputError
from monai_iscs.sampling import Denoiser

PRECISIONS = ("float32", "tf32", "bfloat16")
CPU_BATCH = 8  # slices: with more, activations leave the caches
MOST = 64  # slices at a time on an accelerator: it is busy with fewer
MEMORY_SHARE = 0.8  # of what is free: batches of other sizes need other workspaces


class SliceBatches:
    """A denoiser of stacks that calls another one on some slices at a time.

    A network's weights are put in channels-last order, in which convolutions are faster, on a CPU too. Batches enter
    and leave in float32 whatever the precision: only products inside the network are rounded, and behind an
    `EDMDenoiser` what that changes is small where sigma is.

    Args:
        network: the prior, `network(x, sigma) -> E[x0 | x]` on (S, C, H, W).
        device: where it computes.
        slice_batch: how many slices at a time, at most. None: on CUDA as many as free memory holds, up to 64, told from
            what one slice needs; elsewhere 8. The stack is divided evenly. Where memory runs out all the same, batches
            are halved from there on.
        precision: of the network's matrix products and convolutions: "float32", "tf32" (10 bits of fraction, CUDA only)
            or "bfloat16" (7 bits). None: see `choose_precision`.
        compiled: compile the network with `torch.compile` for one size of batch, on CUDA with CUDA graphs. It takes a
            minute or more, which long runs win back. The last batch is then filled up to the size.

    Raises:
        InputError: an unknown precision or one that the device doesn't have, or a batch below 1.
    """

    def __init__(
        self,
        network: Denoiser,
        device: torch.device,
        *,
        slice_batch: int | None = None,
        precision: str | None = None,
        compiled: bool = False,
    ) -> None:
        check_batches(slice_batch, precision)
        if precision == "tf32" and device.type != "cuda":
            raise InputError(f"precision is 'tf32' on {device}, expected float32 or bfloat16: only CUDA has it")
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())
        self.device = device
        self.precision = choose_precision(precision, device)
        self.network = network.to(memory_format=torch.channels_last) if isinstance(network, nn.Module) else network
        self.compiled = compiled
        self._call = torch.compile(network, mode=_compiler(device), dynamic=False) if compiled else network
        self._most = slice_batch or (None if device.type == "cuda" else CPU_BATCH)

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """Denoise a stack (S, C, H, W), float32.

        Raises:
            torch.OutOfMemoryError: there is not enough memory for one slice.
        """
        if self._most is None:
            self._most = fitting_batch(*self._probe(x[:1], sigma))
        x0, done = torch.empty_like(x), 0
        while done < len(x):
            size = math.ceil(len(x) / math.ceil(len(x) / self._most))
            part = x[done : done + size]
            try:
                x0[done : done + size] = self._denoise(part, sigma, size)
            except RuntimeError as error:
                if size == 1 or not _out_of_memory(error):
                    raise
                self._most = size // 2
            else:
                done += size
                continue
            if x.is_cuda:
                torch.cuda.empty_cache()  # here, where the failed call's tensors are gone
        return x0

    def _denoise(self, part: Tensor, sigma: float, size: int) -> Tensor:
        with computing_in(self.precision, self.device):
            if not self.compiled:
                return self._call(part, sigma)
            if missing := size - len(part):
                part = torch.cat([part, part[-1:].expand(missing, *part.shape[1:])])
            torch.compiler.cudagraph_mark_step_begin()
            # a tensor: the program would be compiled again for another number
            return self._call(part, torch.full((), sigma, device=part.device))[: size - missing]

    def _probe(self, part: Tensor, sigma: float) -> tuple[int, int]:
        """Bytes that are free, and bytes that one slice needs."""
        before = torch.cuda.memory_allocated(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        with computing_in(self.precision, self.device):
            self.network(part, sigma)
        return free_memory(self.device), torch.cuda.max_memory_allocated(self.device) - before


def check_batches(slice_batch: int | None, precision: str | None) -> None:
    """Raise an `InputError` for settings that no device has."""
    if slice_batch is not None and (
        isinstance(slice_batch, bool) or not isinstance(slice_batch, int) or slice_batch < 1
    ):
        raise InputError(f"slice_batch is {slice_batch!r}, expected a whole number of at least 1, or None")
    if precision not in (None, *PRECISIONS):
        raise InputError(f"precision is {precision!r}, expected one of {', '.join(PRECISIONS)}, or None")


def fitting_batch(free: int, per_slice: int) -> int:
    """How many slices fit in so many free bytes, at least 1, at most `MOST`."""
    return min(max(int(MEMORY_SHARE * free / max(per_slice, 1)), 1), MOST)


def free_memory(device: torch.device) -> int:
    """Bytes that this process can still allocate on a CUDA device, within `set_per_process_memory_fraction`."""
    free, total = torch.cuda.mem_get_info(device)
    allocated = torch.cuda.memory_allocated(device)
    unused = torch.cuda.memory_reserved(device) - allocated
    limit = int(total * torch.cuda.get_per_process_memory_fraction(device))
    return min(free + unused, limit - allocated)


def choose_precision(precision: str | None, device: torch.device) -> str:
    """The precision that is meant: for None bfloat16 on CUDA devices that have it in hardware, else float32."""
    if precision is not None or device.type != "cuda":
        return precision or "float32"
    with torch.cuda.device(device):
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"


def _out_of_memory(error: RuntimeError) -> bool:
    """Whether memory ran out, that of a library's workspace included."""
    return isinstance(error, torch.OutOfMemoryError) or "ALLOC_FAILED" in str(error)


def _compiler(device: torch.device) -> str:
    return "reduce-overhead" if device.type == "cuda" else "default"


@contextmanager
def computing_in(precision: str, device: torch.device) -> Iterator[None]:
    """Matrix products and convolutions in a precision; PyTorch's own settings come back at the end."""
    settings = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)
    before = [setting.fp32_precision for setting in settings]
    try:
        for setting in settings:
            setting.fp32_precision = "tf32" if precision == "tf32" else "ieee"
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
            yield
    finally:
        for setting, value in zip(settings, before, strict=True):
            setting.fp32_precision = value
