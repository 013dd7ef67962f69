"""`lsrl convert`"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import transformers

from support.commands import Run


def test_a_converted_checkpoint_runs(run: Run, tmp_path: Path) -> None:
    sizes = {"vocab_size": 7, "hidden_size": 4, "state_size": 2, "num_hidden_layers": 1}
    model = transformers.MambaForCausalLM(transformers.MambaConfig(**sizes))
    model.save_pretrained(tmp_path / "tiny")
    tokens = np.array([[1, 5, 2]])
    np.savez(tmp_path / "tokens.npz", token=tokens)

    params = str(tmp_path / "tiny.npz")
    done = run("convert", str(tmp_path / "tiny"), "-o", params)
    assert done.status == 0, done.err
    assert "tiny.npz: 12 parameters, 252 numbers\n" in done.err
    words = done.out.split()
    assert words[:4] == ["std/blocks/mamba_lm", "--set", "vocab=7", "d_model=4"]

    given = ("--inputs", str(tmp_path / "tokens.npz"), "--params", params, "-o", str(tmp_path / "out.npz"))
    assert run("run", *words, *given).status == 0
    wanted = model(torch.tensor(tokens)).logits.detach().numpy()
    np.testing.assert_allclose(np.load(tmp_path / "out.npz")["logits"], wanted, atol=1e-5)


def test_what_is_no_checkpoint_is_told(run: Run, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    done = run("convert", str(tmp_path), "-o", str(tmp_path / "out.npz"))
    assert (done.status, done.out) == (1, "")
    assert "no program for the model_type 'gpt2'" in done.err
