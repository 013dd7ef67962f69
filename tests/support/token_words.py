"""Random dictionaries for token matching: prompts, and what the answer is."""

from __future__ import annotations

import numpy as np


def prompts(T: int, V: int, pairs: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Prompts [pairs, T + 2 T pairs], each asking for another key of one dictionary, and answers [pairs, T]."""
    generator = np.random.default_rng(seed)
    keys: dict[tuple[int, ...], None] = {}
    while len(keys) < pairs:
        keys[tuple(generator.integers(0, V, T).tolist())] = None
    words = np.array(list(keys))
    values = generator.integers(0, V, (pairs, T))
    dictionary = np.stack([words, values], 1).reshape(-1)
    asked = [np.concatenate([word, dictionary]) for word in words]
    return np.array(asked), values


def answers(outputs: np.ndarray, T: int) -> np.ndarray:
    """The last T outputs, [pairs, T]."""
    return outputs[:, -T:]
