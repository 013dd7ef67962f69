"""Nonlinear cells with dense or element-wise recurrence: those of torchrecurrent, and forms of papers that differ."""

from __future__ import annotations

import torch
import torchrecurrent as tr

from support.peers import nonlinear_dynamics, nonlinear_memory, nonlinear_papers, nonlinear_random
from support.peers.row import Row
from support.peers.torchrecurrent_cell import row


class HardSigmoid(torch.nn.Module):
    """That of torch, which differentiates its own with one sixth in float32."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x / 6 + 0.5).clamp(0, 1)


GATED = (
    row("atr", tr.ATRCell, weight_ih="W", weight_hh="U", bias_ih="bp", bias_hh="bq"),
    row("br", tr.BRCell, weight_ih="Ua Uc U", weight_hh="wa wc", bias_ih="ba bc none"),
    row("nbr", tr.NBRCell, weight_ih="Ua Uc U", weight_hh="Wa Wc", bias_ih="ba bc none"),
    row("cfn", tr.CFNCell, weight_ih="Vt Ve W", weight_hh="Ut Ue", bias_hh="bt be"),
    row(
        "sgu",
        tr.SGUCell,
        options={"gate_nonlinearity": HardSigmoid()},
        weight_ih="Wg Wz",
        weight_hh="Ug Uz",
        bias_ih="bg bz",
        bias_hh="bu none",
    ),
    row(
        "dsgu",
        tr.DSGUCell,
        options={"gate_nonlinearity": HardSigmoid()},
        weight_ih="Wg Wz",
        weight_hh="Ug Uz",
        weight_ho="Uo",
        bias_ih="bg bz",
        bias_hh="bu none",
    ),
    row("light_ru", tr.LightRUCell, weight_ih="Wh Wf", weight_hh="Uf", bias_ih="bh bf"),
    row("li_gru", tr.LiGRUCell, weight_ih="Wz Wh", weight_hh="Uz Uh", bias_ih="bz bh"),
    row("minimal_rnn", tr.MinimalRNNCell, weight_ih="Wx", weight_hh="Uh", weight_mm="Uz", bias_ih="bz", bias_hh="bu"),
    row("miru1", tr.MiRU1Cell, weight_ih="Wr Wh", weight_hh="Ur Uh", bias_ih="br bh"),
    row("miru2", tr.MiRU2Cell, weight_ih="Wh", weight_hh="Uh", bias_ih="bh"),
    row("sgrn", tr.SGRNCell, weight_ih="W", weight_hh="U", bias_ih="bx", bias_hh="bh"),
    row("star", tr.STARCell, weight_ih="Wz Wx", weight_hh="Wh", bias_ih="bz bk"),
    row("ugrnn", tr.UGRNNCell, weight_ih="Wc Wg", weight_hh="Uc Ug", bias_ih="bc bg"),
    row(
        "intersection_rnn",
        tr.IntersectionRNNCell,
        output="y",
        sizes={"H": 5},
        weight_ih="Wy Wh Wgy Wgh",
        weight_hh="Uy Uh Ugy Ugh",
        bias_ih="by bh bgy bgh",
    ),
)

RESIDUAL = (
    row(
        "antisymmetric_rnn",
        tr.AntisymmetricRNNCell,
        options={"epsilon": 0.1, "gamma": 0.01},
        weight_ih="V",
        weight_hh="W",
        bias_ih="b",
    ),
    row(
        "gated_antisymmetric_rnn",
        tr.GatedAntisymmetricRNNCell,
        options={"epsilon": 0.1, "gamma": 0.01},
        weight_ih="Vz Vh",
        weight_hh="W",
        bias_ih="bz bh",
    ),
    row(
        "fast_rnn",
        tr.FastRNNCell,
        slip="alpha and beta start at each other's initial values",
        weight_ih="W",
        weight_hh="U",
        bias_ih="b",
        alpha="alpha",
        beta="beta",
    ),
    row(
        "fast_grnn",
        tr.FastGRNNCell,
        options={"nonlinearity": "sigmoid"},
        slip="the gate is tanh by default, and told to be the paper's sigmoid; std/fast_grnn_tanh is the default",
        weight_ih="W",
        weight_hh="U",
        bias_ih="bz bh",
        zeta="zeta",
        nu="nu",
    ),
    row(
        "fast_grnn_tanh",
        tr.FastGRNNCell,
        weight_ih="W",
        weight_hh="U",
        bias_ih="bz bh",
        zeta="zeta",
        nu="nu",
    ),
    row("ind_rnn", tr.IndRNNCell, options={"nonlinearity": "relu"}, weight_ih="W", vector_u="u", bias_ih="b"),
    row("cornn", tr.coRNNCell, states="y z", output="y", weight_ih="V", weight_hh="W", weight_ch="W_", bias_ih="b"),
    row(
        "unicornn",
        tr.UnICORNNCell,
        states="y z",
        output="y",
        options={"alpha": 0.9},
        weight_ih="V",
        weight_hh="w",
        weight_ch="c",
        bias_ih="b",
    ),
)

SEARCHED = (
    row(
        "mut1_projected",
        tr.MUT1Cell,
        weight_ih="Wxz Wxr Wxh",
        weight_hh="Whr Whh",
        bias_ih="bz br bx",
        bias_hh="none bh",
    ),
    row("mut2_projected", tr.MUT2Cell, weight_ih="Wxz Wxr Wxh", weight_hh="Whz Whr Whh", bias_ih="bz br bh"),
    row("mut3", tr.MUT3Cell, weight_ih="Wxz Wxr Wxh", weight_hh="Whz Whr Whh", bias_ih="bz br bh"),
    row(
        "mut1",
        tr.MUT1Cell,
        sizes={"H": 5},
        slip="a matrix acts on x where the paper has x itself: std/mut1_projected; here that is the identity",
        weight_ih="Wxz Wxr eye",
        weight_hh="Whr Whh",
        bias_ih="bz br none",
        bias_hh="none bh",
    ),
    row(
        "mut2",
        tr.MUT2Cell,
        sizes={"H": 5},
        slip="a matrix acts on x where the paper has x itself: std/mut2_projected; here that is the identity",
        weight_ih="Wxz eye Wxh",
        weight_hh="Whz Whr Whh",
        bias_ih="bz br bh",
    ),
    row("nas_sum", tr.NASCell, states="h c", weight_ih="W", weight_hh="U", bias_ih="b"),
)

CELL_AND_OUTPUT = (
    row("janet", tr.JANETCell, states="h h", weight_ih="Wf Wc", weight_hh="Uf Uc", bias_ih="bf bc"),
    row(
        "original_lstm",
        tr.OriginalLSTMCell,
        states="h c",
        slip="tanh squashes; the paper scales logistic functions: std/lstm_1997",
        weight_ih="Wi Wg Wo",
        weight_hh="Ui Ug Uo",
        bias_ih="bi bg bo",
    ),
    row(
        "peephole_lstm",
        tr.PeepholeLSTMCell,
        states="h c",
        weight_ih="Wi Wf Wc Wo",
        weight_hh="Ui Uf Uc Uo",
        weight_ph="wi wf wo",
        bias_ih="bi bf bc bo",
    ),
    row("ran", tr.RANCell, states="h c", weight_ih="Wcx Wix Wfx", weight_hh="Wih Wfh", bias_ih="bi bf"),
    row(
        "res_lstm",
        tr.ResLSTMCell,
        states="h c",
        weight_ih="Wxi Wxf Wxc Wxo",
        weight_hh="Whi Whf Whc Who",
        weight_ph="wci wcf wco",
        weight_proj="Wp",
        weight_res="Wh",
        bias_ih="bi bf bc bo",
    ),
    row(
        "mc_lstm",
        tr.MCLSTMCell,
        states="v c",
        weight_ih="Wf Wi Wo Wm Wn",
        weight_hh="Uf Ui Uo Um Un",
        bias_ih="bf bi bo bm bn",
    ),
    row(
        "multiplicative_lstm",
        tr.MultiplicativeLSTMCell,
        states="h c",
        weight_ih="Wmx Wix Wfx Whx Wox",
        weight_hh="Wmh",
        weight_mh="Wim Wfm Whm Wom",
        bias_mh="bi bf bh bo",
    ),
    row(
        "wmc_lstm",
        tr.WMCLSTMCell,
        states="h c",
        weight_ih="Wix Wfx Wgx Wox",
        weight_hh="Wih Wfh Wgh Woh",
        weight_mh="Wic Wfc Woc",
        bias_ih="bi bf bg bo",
        bias_mh="mi mf mo",
    ),
    row(
        "lem_simultaneous",
        tr.LEMCell,
        states="y z",
        output="y",
        slip="y reads the memory before its update; in the paper, and in its authors' code, after: std/lem",
        weight_ih="V2 V1 Vz Vy",
        weight_hh="W2 W1 Wz",
        weight_ch="Wy",
        bias_ih="b2 b1 bz by",
    ),
    row(
        "scrn_output",
        tr.SCRNCell,
        states="y s",
        output="y",
        slip="the output recurs; in the paper, and in the class's own documentation, the hidden layer does: std/scrn",
        weight_ih="B A",
        weight_hh="R U",
        weight_ch="P V",
        bias_ih="bs bh",
        bias_hh="none by",
        alpha="alpha",
    ),
)

ROWS: tuple[Row, ...] = (
    *GATED,
    *RESIDUAL,
    *SEARCHED,
    *CELL_AND_OUTPUT,
    *nonlinear_papers.ROWS,
    *nonlinear_dynamics.ROWS,
    *nonlinear_memory.ROWS,
    *nonlinear_random.ROWS,
)
