"""The two models of arrows.py: the layer of arrows.lsrl, and a vision transformer (Dosovitskiy et al., 2021).

Both have the same convolutions that make patches, the same feed-forward networks, and the same head, which takes the
largest value of each feature over all places.  They differ in how places hear of each other, and the transformer has
embeddings of positions, which are interpolated for larger images as is usual.  A layer of memories has two sets of
parameters, for the image and for its mirrored form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

import lsrl
from lsrl.compiled import Compiled

Kind = Literal["plstm", "vit"]
Tree = dict[str, jax.Array]
Draw = Callable[..., jax.Array]


@dataclass(frozen=True)
class Model:
    """A model and its sizes; parameters are given with every call.

    Attributes:
        kind: which of the two.
        side: number of patches along each side of the images that it is trained on.
        stem: features after each convolution; every one halves the sides, so patches have 2 ** len(stem) pixels a side.
        blocks: how many.
        heads: of each of the four ways of the memories, and of attention.
        key, value: sizes of the memories.
    """

    kind: Kind
    side: int
    stem: tuple[int, ...]
    blocks: int
    heads: int
    key: int
    value: int

    @property
    def width(self) -> int:
        return self.stem[-1]

    @cached_property
    def memory(self) -> Compiled:
        """The layer of arrows.lsrl."""
        program = lsrl.load(Path(__file__).with_name("arrows.lsrl"))
        sizes = {"D": self.width, "N": self.heads, "K": self.key, "V": self.value}
        return lsrl.compile(program, target="jax", sizes=sizes)

    def init(self, seed: int) -> Tree:
        """Parameters by name."""
        random = np.random.default_rng(seed)

        def normal(*shape: int, scale: float = 1.0) -> jax.Array:
            """Weights whose outputs have about the deviation of their inputs, times the scale."""
            return jnp.asarray(random.normal(size=shape) * scale / np.sqrt(np.prod(shape[:-1])), jnp.float32)

        params = {}
        for layer, (before, after) in enumerate(zip((1, *self.stem), self.stem)):
            params[f"stem.{layer}.weight"] = normal(3, 3, before, after, scale=2**0.5)
            params[f"stem.{layer}.bias"] = jnp.zeros(after)
        for block in range(self.blocks):
            mixer = self._init_memory(random) if self.kind == "plstm" else self._init_attention(normal)
            params |= {f"{block}.{name}": array for name, array in mixer.items()}
            params[f"{block}.in"] = normal(self.width, 2 * self.width)
            params[f"{block}.bias"] = jnp.zeros(2 * self.width)
            params[f"{block}.out"] = normal(2 * self.width, self.width)
        if self.kind == "vit":
            positions = 0.02 * random.normal(size=(self.side, self.side, self.width))
            params["positions"] = jnp.asarray(positions, jnp.float32)
        return params | {"head": normal(self.width, 1, scale=0.1)[:, 0], "head.bias": jnp.zeros(())}

    def _init_memory(self, random: np.random.Generator) -> Tree:
        drawn = {way: self.memory.init(int(random.integers(2**31))) for way in ("image", "mirrored")}
        return {f"{way}.{name}": array for way, params in drawn.items() for name, array in params.items()}

    def _init_attention(self, normal: Draw) -> Tree:
        return {"qkv": normal(self.width, 3 * self.width), "back": normal(self.width, self.width)}

    def __call__(self, params: Tree, images: jax.Array) -> jax.Array:
        """How likely each arrow hits: logits [B] of images [B, height, width], uint8, black on white."""
        x = self.patches(params, images)
        if self.kind == "vit":
            x = x + jax.image.resize(params["positions"], x.shape[1:], "cubic")
        for block in range(self.blocks):
            of_block = under(params, f"{block}.")
            x = x + self.mixed(of_block, normalised(x))
            x = x + jax.nn.gelu(normalised(x) @ of_block["in"] + of_block["bias"]) @ of_block["out"]
        return normalised(x).max((1, 2)) @ params["head"] + params["head.bias"]

    def patches(self, params: Tree, images: jax.Array) -> jax.Array:
        """Features of each patch, [B, y, x, width]."""
        x = 1 - images[..., None].astype(jnp.float32) / 255
        for layer in range(len(self.stem)):
            x = jax.nn.gelu(x) if layer else x
            weight, layout = params[f"stem.{layer}.weight"], ("NHWC", "HWIO", "NHWC")
            x = jax.lax.conv_general_dilated(x, weight, (2, 2), ((1, 1), (1, 1)), dimension_numbers=layout)
            x = x + params[f"stem.{layer}.bias"]
        return x

    def mixed(self, params: Tree, u: jax.Array) -> jax.Array:
        """What places hear of each other, [B, y, x, width]."""
        if self.kind == "vit":
            return self._attention(params, u)
        image = self.memory(under(params, "image."), {"u": u}).outputs["y"]
        mirrored = self.memory(under(params, "mirrored."), {"u": u[:, :, ::-1]}).outputs["y"]
        return image + mirrored[:, :, ::-1]

    def _attention(self, params: Tree, u: jax.Array) -> jax.Array:
        """Softmax attention over all places."""
        q, k, v = jnp.split((u @ params["qkv"]).reshape(len(u), -1, self.heads, 3 * self.width // self.heads), 3, -1)
        read = jax.nn.dot_product_attention(q, k, v)
        return read.reshape(u.shape) @ params["back"]


def normalised(x: jax.Array) -> jax.Array:
    """Features of root mean square 1 (Zhang and Sennrich, 2019)."""
    return x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + 1e-6)


def under(params: Mapping[str, jax.Array], prefix: str) -> Tree:
    """The parameters whose names begin so, by the rest of their names."""
    return {name.removeprefix(prefix): array for name, array in params.items() if name.startswith(prefix)}
