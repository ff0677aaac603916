# SPDX-License-Identifier: Apache-2.0
"""Names and order of the weights in published checkpoints, for the networks of this package."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from monai_iscs.errors import InputError
from monai_iscs.priors.guided_diffusion_unet import GuidedDiffusionUNet
from monai_iscs.priors.ncsnpp import FIRConvolution, FIRResidualBlock, NCSNpp
from monai_iscs.priors.unet import ResidualUNet, SelfAttention


class Entry(NamedTuple):
    """One weight of a checkpoint.

    Attributes:
        theirs: its name there.
        ours: its name in this package's network. Several entries with one name are stacked along the first axis.
        trained: False for buffers, which no optimiser changes and no average includes.
    """

    theirs: str
    ours: str
    trained: bool = True


def _both(theirs: str, ours: str) -> Iterator[Entry]:
    """Weight and bias of a layer."""
    for part in ("weight", "bias"):
        yield Entry(f"{theirs}.{part}", f"{ours}.{part}")


def _layers(theirs: str, ours: str, module: nn.Module, names: Mapping[str, str]) -> Iterator[Entry]:
    """The layers of a module that have weights: a shortcut may have none."""
    for layer, their_layer in names.items():
        if next(getattr(module, layer).parameters(), None) is not None:
            yield from _both(f"{theirs}.{their_layer}", f"{ours}.{layer}")


def as_ours(entry: Entry, value: Tensor) -> Tensor:
    """A weight of a checkpoint in the layout of our layers.

    In checkpoints a ``W`` is (inputs, outputs), and a linear layer may be a convolution of one sample.
    """
    if entry.theirs.endswith(".W"):
        return value.t()
    return value.squeeze(-1) if value.ndim == 3 else value


class NCSNppLayout:
    """``score_sde_pytorch`` and its descendants: one numbered list ``all_modules`` of all layers."""

    network = NCSNpp
    ignored: ClassVar = {"sigmas"}  # the sigmas of discrete training, which are not used
    _PARTS = (FIRResidualBlock, SelfAttention, FIRConvolution)
    _BLOCK: ClassVar = {
        "norm1": "GroupNorm_0",
        "conv1": "Conv_0",
        "embedding": "Dense_0",
        "norm2": "GroupNorm_1",
        "conv2": "Conv_1",
        "shortcut": "Conv_2",
    }
    # Noise features, three layers, levels down (blocks, then one that halves the size and a pyramid convolution), the
    # coarsest level with the middle and the way up, two layers
    _ORDER = re.compile(r"Flll(?P<down>(?:(?:BA?)+P)+)(?P<rest>(?:BA?)+)ll")

    @staticmethod
    def fits(names: Mapping[str, Tensor]) -> bool:
        """Whether these are the names of such a checkpoint."""
        return any(name.startswith("all_modules.") for name in names)

    @classmethod
    def settings(cls, weights: Mapping[str, Tensor]) -> dict[str, Any]:
        """The arguments of the network that has these weights.

        Raises:
            InputError: another kind of NCSN++.
        """
        marks = {"W": "F", "Conv2d_0.weight": "P", "NIN_0.W": "A", "Dense_0.weight": "B", "weight": "l"}
        kinds: dict[int, str] = {}
        for name in weights:
            match = re.fullmatch(r"all_modules\.(\d+)\.(.+)", name)
            if match is not None and match[2] in marks:
                kinds[int(match[1])] = marks[match[2]]
        order = cls._ORDER.fullmatch("".join(kinds.get(index, "?") for index in range(max(kinds, default=0) + 1)))
        if order is None:
            raise InputError(
                "found another kind of NCSN++, expected that of ISCS, TPDM and DiffusionMBIR: Fourier features, BigGAN "
                "blocks, residual input pyramid"
            )
        levels = [*order["down"].split("P")[:-1], order["rest"]]
        first = [order.start("down")]  # number of each level's first block
        for level in levels[:-1]:
            first.append(first[-1] + len(level) + 1)
        return {
            "channels": [weights[f"all_modules.{index}.Conv_0.weight"].shape[0] for index in first],
            "num_res_blocks": levels[0].count("B") - 1,
            "attention_levels": [level.startswith("BA") for level in levels],
            "in_channels": weights["all_modules.3.weight"].shape[1],
        }

    @classmethod
    def entries(cls, network: nn.Module) -> Iterator[Entry]:
        """All weights of the checkpoint, in the order of its network's ``parameters()``."""
        parts = {name: module for name, module in network.named_modules() if isinstance(module, cls._PARTS)}
        yield Entry("all_modules.0.W", "frequencies", trained=False)
        for index, name in enumerate(["embedding.0", "embedding.2", "conv_in", *parts, "norm_out", "conv_out"], 1):
            theirs = f"all_modules.{index}"
            match parts.get(name):
                case FIRResidualBlock() as block:
                    yield from _layers(theirs, name, block, cls._BLOCK)
                case SelfAttention():
                    yield from _both(f"{theirs}.GroupNorm_0", f"{name}.norm")
                    for number, layer in enumerate(["qkv", "qkv", "qkv", "out"]):
                        yield Entry(f"{theirs}.NIN_{number}.W", f"{name}.{layer}.weight")
                        yield Entry(f"{theirs}.NIN_{number}.b", f"{name}.{layer}.bias")
                case FIRConvolution():
                    yield from _both(f"{theirs}.Conv2d_0", f"{name}.conv")
                case _:
                    yield from _both(theirs, name)


class GuidedDiffusionLayout:
    """``guided-diffusion``: lists of input and output blocks, each a list of layers."""

    network = GuidedDiffusionUNet
    ignored: ClassVar = frozenset()
    _BLOCK: ClassVar = {
        "norm1": "in_layers.0",
        "conv1": "in_layers.2",
        "embedding": "emb_layers.1",
        "norm2": "out_layers.0",
        "conv2": "out_layers.3",
        "shortcut": "skip_connection",
    }
    _ATTENTION: ClassVar = {"norm": "norm", "qkv": "qkv", "out": "proj_out"}

    @staticmethod
    def fits(names: Mapping[str, Tensor]) -> bool:
        """Whether these are the names of such a checkpoint."""
        return "time_embed.0.weight" in names and "input_blocks.0.0.weight" in names

    @staticmethod
    def settings(weights: Mapping[str, Tensor]) -> dict[str, Any]:
        """The arguments of the network that has these weights, with attention heads of 64 channels, as in DDS.

        Raises:
            InputError: another kind of U-Net.
        """
        numbers = {name.split(".")[1] for name in weights if name.startswith("output_blocks.")}
        # a level on the way up ends with a second residual block, after its attention if it has one
        rising = re.compile(r"output_blocks\.\d+\.[12]\.in_layers\.2\.weight")
        levels = 1 + sum(1 for name in weights if rising.fullmatch(name))
        blocks = len(numbers) // levels
        first = [f"output_blocks.{blocks * level}" for level in reversed(range(levels))]
        widths = [weights.get(f"{name}.0.out_layers.3.weight") for name in first]
        if blocks < 2 or None in widths or "out.2.weight" not in weights:
            raise InputError(
                "found another kind of guided-diffusion U-Net, expected that of DDS: residual blocks that resample, "
                "modulated normalisation"
            )
        in_channels = weights["input_blocks.0.0.weight"].shape[1]
        return {
            "channels": [width.shape[0] for width in widths],
            "num_res_blocks": blocks - 1,
            "attention_levels": [f"{name}.1.qkv.weight" in weights for name in first],
            "in_channels": in_channels,
            "learn_sigma": weights["out.2.weight"].shape[0] != in_channels,
            "classes": len(weights.get("label_emb.weight", ())),
        }

    @classmethod
    def entries(cls, network: ResidualUNet) -> Iterator[Entry]:
        """All weights of the checkpoint."""
        for number in (0, 2):
            yield from _both(f"time_embed.{number}", f"embedding.{number}")
        if network.label_embedding is not None:
            yield Entry("label_emb.weight", "label_embedding.weight")
        yield from _both("input_blocks.0.0", "conv_in")
        index = 1
        for number, level in enumerate(network.down):
            for place, stage in enumerate(level.stages):
                yield from cls._unit(f"input_blocks.{index}", f"down.{number}.stages.{place}", stage)
                index += 1
            if level.resample is not None:
                yield from _layers(f"input_blocks.{index}.0", f"down.{number}.resample", level.resample, cls._BLOCK)
                index += 1
        yield from cls._unit("middle_block", "mid.0", network.mid[0])
        yield from _layers("middle_block.2", "mid.1.block", network.mid[1].block, cls._BLOCK)
        index = 0
        for number, level in enumerate(network.up):
            for place, stage in enumerate(level.stages):
                yield from cls._unit(f"output_blocks.{index}", f"up.{number}.stages.{place}", stage)
                index += 1
            if level.resample is not None:
                theirs = f"output_blocks.{index - 1}.{1 if stage.attention is None else 2}"
                yield from _layers(theirs, f"up.{number}.resample", level.resample, cls._BLOCK)
        yield from _both("out.0", "norm_out")
        yield from _both("out.2", "conv_out")

    @classmethod
    def _unit(cls, theirs: str, ours: str, stage: nn.Module) -> Iterator[Entry]:
        yield from _layers(f"{theirs}.0", f"{ours}.block", stage.block, cls._BLOCK)
        if stage.attention is not None:
            yield from _layers(f"{theirs}.1", f"{ours}.attention", stage.attention, cls._ATTENTION)
