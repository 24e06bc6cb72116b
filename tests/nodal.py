"""The circuit of a crossbar with resistive wires, node by node: a direct reference."""

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as sla


def nodal(g, v, row, column, drive="left", sense="bottom"):
    """Currents [batch columns] and cell voltages for g (S), v [batch rows] (V), Ohm."""
    rows, columns = g.shape
    above = np.arange(rows * columns).reshape(rows, columns)  # nodes of the row wires
    below = above + rows * columns
    links = [
        (above.ravel(), below.ravel(), g.ravel()),
        (above[:, :-1].ravel(), above[:, 1:].ravel(), 1 / row),
        (below[:-1].ravel(), below[1:].ravel(), 1 / column),
    ]
    size = 2 * rows * columns
    matrix, right = sp.csc_matrix((size, size)), np.zeros((size, len(v)))
    for a, b, y in links:
        y = np.broadcast_to(y, a.shape)
        where = np.r_[a, b, a, b], np.r_[a, b, b, a]
        matrix += sp.csc_matrix((np.r_[y, y, -y, -y], where), matrix.shape)
    held = np.zeros(size)
    for end, place in (("left", 0), ("right", -1)):
        if drive in (end, "both"):
            np.add.at(held, above[:, place], 1 / row)
            np.add.at(right, above[:, place], v.T / row)
    for end, place in (("top", 0), ("bottom", -1)):
        if sense in (end, "both"):
            np.add.at(held, below[place], 1 / column)
    x = sla.splu((matrix + sp.diags(held)).tocsc()).solve(right)
    d = (x[: size // 2] - x[size // 2 :]).T.reshape(len(v), rows, columns)
    return np.sum(g * d, axis=1), d
