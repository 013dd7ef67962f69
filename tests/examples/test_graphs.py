"""Molecules as graphs: they are read as they are, and their activities are learned."""

import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rdkit import Chem

from lsrl import graphs
from support.process import ROOT, run_python

pytestmark = pytest.mark.filterwarnings("ignore:lsrl_graphs_:UserWarning")  # says that there is no GPU

PHENOL = "Oc1ccccc1"


def test_features_of_phenol() -> None:
    data = import_module("graphs_data")
    found = data.molecule(PHENOL, 5.0)
    elements = dict(zip(data.ELEMENTS, found.atoms.sum(0)))
    assert (elements["C"], elements["O"], elements["N"]) == (6, 1, 0)
    assert found.atoms.shape == (7, data.ATOM_FEATURES)
    assert found.atoms[:, -3:].sum(0).tolist() == [6, 6, 0]  # aromatic, in a ring, charged
    assert found.bonds.shape == (7, data.BOND_FEATURES)
    assert found.bonds.sum(0).tolist()[:4] == [1, 0, 0, 6]  # single, double, triple, aromatic
    undirected = {frozenset(edge) for edge in found.graph.edges.tolist()}
    assert undirected == {frozenset(pair) for pair in [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 1)]}


def test_molecules_are_those_of_the_file_in_d_mode() -> None:
    data = import_module("graphs_data")
    found = data.load_molecules()
    assert len(found) == 1017
    assert np.mean([each.activity for each in found]) == pytest.approx(6.550924)
    for each in found[::100]:
        graphs.check_single_paths(each.graph)
        graphs.check_single_paths(data.turned(each.graph))


def test_predictions_do_not_depend_on_the_order_of_atoms_and_molecules() -> None:
    data, program = import_module("graphs_data"), import_module("graphs")
    torch.manual_seed(0)
    model = program.Model().eval()
    texts = ["O=S(=O)(Nc1cccs1)c2ccc(Oc3ccccc3c4ccccc4)c(c2)C#N", PHENOL]
    other = [Chem.MolToRandomSmilesVect(Chem.MolFromSmiles(text), 1, randomSeed=3)[0] for text in texts]
    assert texts != other
    with torch.no_grad():
        one = model(data.batch([data.molecule(text, 0.0) for text in texts]))
        two = model(data.batch([data.molecule(text, 0.0) for text in reversed(other)]))
    assert one.tolist() == pytest.approx(two.tolist()[::-1], abs=1e-5)
    assert abs(one[0] - one[1]) > 1e-3


def test_activities_are_learned(tmp_path: Path) -> None:
    printed = run_python(str(ROOT / "examples/graphs.py"), "--epochs", "3", "-o", str(tmp_path))
    mean, counts, fingerprints, ours = (float(error) for error in re.findall(r"mean error (\d\.\d+)", printed))
    assert ours < 0.9 * mean
    assert fingerprints < counts < mean
    with Image.open(tmp_path / "graphs.png") as image:
        assert image.width > 500
    found = (tmp_path / "graphs.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in found[1:]] == [line.split(":")[0] for line in printed.splitlines()[-5:-1]]


def test_committed_results_are_those_of_the_page() -> None:
    page = (ROOT / "docs/tasks.md").read_text()
    for line in (ROOT / "examples/results/graphs.csv").read_text().splitlines()[1:]:
        _, error, share = line.split(",")
        assert f"| {float(error):.2f} | {float(share):.2f} |" in page
