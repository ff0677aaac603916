# SPDX-License-Identifier: Apache-2.0
"""The prior on a stack of slices: in batches that fit the device, in its fast precision."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from monai_iscs.errors import InputError
from monai_iscs.precision import check_precision, choose_precision, computing_in
from monai_iscs.priors.denoisers import StackDenoiser

CPU_BATCH = 8  # slices: with more, activations don't fit the caches
MOST = 64  # slices at a time on an accelerator: enough to keep it busy
MOST_PIXELS = 63 * 256**2  # of a batch: 512 channels still have 32-bit indices
MEMORY_SHARE = 0.8  # of the free memory: other batch sizes need other workspaces
OTHER_STACKS = 8  # stacks that the rest of the loop has in memory
OUT_OF_MEMORY = ("ALLOC_FAILED", "ALLOCATION_FAILED", "unable to find an engine", "Unable to find a valid cuDNN")


class SliceBatches:
    """A denoiser of stacks that calls another one on some slices at a time.

    A network's weights are put in channels-last order, in which convolutions are faster, also on a CPU. Batches are
    float32 for any precision: only products inside the network are rounded, and with an `EDMDenoiser` the effect is
    small where sigma is small.

    Args:
        network: the prior, `network(x, sigma) -> E[x0 | x]` on (S, C, H, W). Its attributes `size_divisor` and
            `in_channels`, if it has them, say what H and W must be multiples of, and what C is.
        device: where it computes.
        slice_batch: how many slices at a time, at most. None: on CUDA as many as free memory holds, up to 64 (63 of
            256 x 256 pixels, 15 of 512 x 512), estimated once for each size from the memory for one slice; elsewhere 8.
            The stack is divided evenly. If memory runs out nevertheless, later batches are halved.
        precision: of the network's matrix products and convolutions: "float32", "tf32" (10 bits of fraction, CUDA only)
            or "bfloat16" (7 bits). None: bfloat16 on devices that have it in hardware, also CPUs
            with AMX or AVX-512's, else float32.
        compiled: compile the network with `torch.compile` for one size of batch, on CUDA with CUDA graphs. It takes a
            minute or more, which pays off in long runs. The last batch is then filled up to the size.

    Raises:
        InputError: an unknown precision or one that the device doesn't have, or a batch below 1.
    """

    def __init__(
        self,
        network: StackDenoiser,
        device: torch.device,
        *,
        slice_batch: int | None = None,
        precision: str | None = None,
        compiled: bool = False,
    ) -> None:
        check_batches(slice_batch, precision)
        check_precision(precision, device)
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())
        self.device = device
        self.precision = choose_precision(precision, device)
        self.size_divisor = getattr(network, "size_divisor", 1)
        self.in_channels = getattr(network, "in_channels", None)
        self.network = network.to(memory_format=torch.channels_last) if isinstance(network, nn.Module) else network
        self.compiled = compiled
        self._call = torch.compile(network, mode=_compiler(device), dynamic=False) if compiled else network
        self._given = slice_batch or (None if device.type == "cuda" else CPU_BATCH)
        self._most: dict[tuple[int, ...], int] = {}

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """Denoise a stack (S, C, H, W), float32.

        Raises:
            torch.OutOfMemoryError: there is not enough memory for one slice.
        """
        shape = tuple(x.shape[1:])
        if shape not in self._most:
            self._most[shape] = self._given or self._fitting(x, sigma)
        x0, done = None, 0
        while done < len(x):
            size = math.ceil(len(x) / math.ceil(len(x) / self._most[shape]))
            part = x[done : done + size].contiguous()
            try:
                estimate = self._denoise(part, sigma, size)
            except RuntimeError as error:
                if size == 1 or not _out_of_memory(error):
                    raise
                self._most[shape] = size // 2
            else:
                # the network may take more channels than it returns
                x0 = x.new_empty(len(x), *estimate.shape[1:]) if x0 is None else x0
                x0[done : done + size] = estimate
                del estimate  # the next batch can use its memory
                done += size
                continue
            # here, where the failed call's tensors are gone
            if self.compiled:
                torch.compiler.reset()  # the graphs' own memory
            if x.is_cuda:
                torch.cuda.empty_cache()
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

    def _fitting(self, x: Tensor, sigma: float) -> int:
        """How many of a stack's slices fit beside the rest of the loop, estimated by a call with one."""
        before = torch.cuda.memory_allocated(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        with computing_in(self.precision, self.device):
            self.network(x[:1], sigma)
        one = torch.cuda.max_memory_allocated(self.device) - before
        free = free_memory(self.device) - OTHER_STACKS * x.nbytes
        return fitting_batch(free, one, x.shape[-2] * x.shape[-1])


def check_batches(slice_batch: int | None, precision: str | None) -> None:
    """Raise an `InputError` for settings that are invalid on every device."""
    if slice_batch is not None and (
        isinstance(slice_batch, bool) or not isinstance(slice_batch, int) or slice_batch < 1
    ):
        raise InputError(f"slice_batch: found {slice_batch!r}, expected a whole number of at least 1, or None")
    check_precision(precision)


def fitting_batch(free: int, per_slice: int, pixels: int) -> int:
    """How many slices of some pixels fit in some free bytes: at least 1, at most enough to keep a device busy."""
    return max(min(int(MEMORY_SHARE * free / max(per_slice, 1)), MOST, MOST_PIXELS // pixels), 1)


def free_memory(device: torch.device) -> int:
    """Bytes that this process can still allocate on a CUDA device, within `set_per_process_memory_fraction`."""
    free, total = torch.cuda.mem_get_info(device)
    allocated = torch.cuda.memory_allocated(device)
    unused = torch.cuda.memory_reserved(device) - allocated
    limit = int(total * torch.cuda.get_per_process_memory_fraction(device))
    return min(free + unused, limit - allocated)


def _out_of_memory(error: RuntimeError) -> bool:
    """Whether memory ran out, also for a library's workspace."""
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in OUT_OF_MEMORY)


def _compiler(device: torch.device) -> str:
    return "reduce-overhead" if device.type == "cuda" else "default"
