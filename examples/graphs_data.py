"""Molecules as graphs: 1,017 compounds that RDKit ships, with their measured activities.

They are the sulfonamides of ChEMBL's document CHEMBL2321810, in the folder of RDKit's example of a Free-Wilson
analysis; an activity is the negative logarithm of the concentration that inhibits half, pIC50.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rdkit import Chem, RDConfig
from rdkit.Chem import rdFingerprintGenerator, rdmolops

from lsrl import graphs

Array = np.ndarray[Any, np.dtype[Any]]

FOLDER = Path(RDConfig.RDContribDir) / "FreeWilson/data"
ELEMENTS = ("C", "N", "O", "F", "S", "Cl", "Br", "I")
BONDS = (Chem.BondType.SINGLE, Chem.BondType.DOUBLE, Chem.BondType.TRIPLE, Chem.BondType.AROMATIC)
ATOM_FEATURES = len(ELEMENTS) + 1 + 5 + 4 + 3  # element, neighbours, hydrogens, and three properties
BOND_FEATURES = len(BONDS) + 2


@dataclass(frozen=True)
class Molecule:
    """A molecule, with directions of its bonds that do not depend on the order of its atoms.

    Attributes:
        graph: atoms as nodes and bonds as edges, with the turns of D-mode.
        atoms: [nodes, ATOM_FEATURES].
        bonds: [edges, BOND_FEATURES].
        fingerprint: [1024], whether circles of atoms occur (Rogers and Hahn, 2010).
        activity: pIC50.
    """

    graph: graphs.Graph
    atoms: Array
    bonds: Array
    fingerprint: Array
    activity: float

    @property
    def counts(self) -> Array:
        """How often each feature occurs, whatever is next to what: [ATOM_FEATURES + BOND_FEATURES]."""
        return np.concatenate([self.atoms.sum(0), self.bonds.sum(0)])


@dataclass(frozen=True)
class Batch:
    """Molecules side by side, as one graph.

    Attributes:
        graph: all of them.
        molecule: [nodes], which one an atom is of.
        atoms, bonds: their features, as in `Molecule`.
        activities: [molecules].
    """

    graph: graphs.Graph
    molecule: Array
    atoms: Array
    bonds: Array
    activities: Array


def load_molecules() -> list[Molecule]:
    """All of them, in the order of the file."""
    with (FOLDER / "CHEMBL2321810_act.csv").open(newline="") as table:
        activity = {row["Name"]: float(row["Act"]) for row in csv.DictReader(table)}
    lines = (FOLDER / "CHEMBL2321810.smi").read_text().splitlines()
    return [molecule(smiles, activity[name]) for smiles, name in (line.split() for line in lines)]


def molecule(smiles: str, activity: float) -> Molecule:
    """The molecule of a SMILES text."""
    mol = Chem.MolFromSmiles(smiles)
    pairs = np.array([(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in mol.GetBonds()])
    graph = graphs.orient(pairs, how=_ranks(mol), nodes=mol.GetNumAtoms())
    fingerprint = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024).GetFingerprintAsNumPy(mol)
    return Molecule(
        graph.with_turns(graphs.prune(graph)),
        np.stack([_atom(atom) for atom in mol.GetAtoms()]),
        np.stack([_bond(bond) for bond in mol.GetBonds()]),
        fingerprint.astype(np.float32),
        activity,
    )


def batch(molecules: Sequence[Molecule]) -> Batch:
    """Several molecules as one graph."""
    joined = graphs.union([each.graph for each in molecules])
    return Batch(
        joined.graph,
        np.repeat(np.arange(len(molecules)), np.diff(joined.nodes)),
        np.concatenate([each.atoms for each in molecules]),
        np.concatenate([each.bonds for each in molecules]),
        np.array([each.activity for each in molecules], np.float32),
    )


def turned(graph: graphs.Graph) -> graphs.Graph:
    """The graph with all edges turned round, under their old numbers."""
    return graphs.make(graph.edges[:, ::-1], graph.nodes, graph.turns[:, ::-1])


def _ranks(mol: Chem.Mol) -> Array:
    """A rank for each atom: by its distance from the first in RDKit's canonical order, then by that order."""
    order = np.array(Chem.CanonicalRankAtoms(mol))
    distance = rdmolops.GetDistanceMatrix(mol)[order.argmin()]
    return np.asarray(distance * len(order) + order)


def _atom(atom: Chem.Atom) -> Array:
    element = [atom.GetSymbol() == symbol for symbol in ELEMENTS]
    neighbours = [atom.GetDegree() == number for number in range(5)]
    hydrogens = [atom.GetTotalNumHs() == number for number in range(4)]
    properties = [atom.GetIsAromatic(), atom.IsInRing(), atom.GetFormalCharge() != 0]
    return np.array([*element, not any(element), *neighbours, *hydrogens, *properties], np.float32)


def _bond(bond: Chem.Bond) -> Array:
    kind = [bond.GetBondType() == each for each in BONDS]
    return np.array([*kind, bond.GetIsConjugated(), bond.IsInRing()], np.float32)
