"""Whether triangles of a file truly cross, in whole numbers: no rounding decides.

32-bit coordinates are multiples of a power of two, so a common factor makes them integers, which Python multiplies
exactly. Triangles cross when a side of one passes through the other, or when they overlap in one plane; corners and
sides that both have are fine."""
import numpy


def whole_numbers(corners):
    """Corners as Python integers in one unit: the least power of two in any coordinate."""
    ratios = [float(x).as_integer_ratio() for x in corners.ravel()]
    unit = max(below for _, below in ratios)
    numbers = [above * (unit // below) for above, below in ratios]
    return [tuple(map(tuple, zip(*[iter(numbers[i : i + 9])] * 3))) for i in range(0, len(numbers), 9)]


def sign(x):
    return (x > 0) - (x < 0)


def side(t, d):
    """On which side of a triangle's plane a point lies."""
    p, q, r = ([a - b for a, b in zip(corner, d)] for corner in t)
    return sign(sum(p[i] * (q[i - 2] * r[i - 1] - q[i - 1] * r[i - 2]) for i in range(3)))


def turn(a, b, c, axis):
    u, v = axis - 2, axis - 1
    return sign((a[u] - c[u]) * (b[v] - c[v]) - (a[v] - c[v]) * (b[u] - c[u]))


def plane_axis(t):
    """An axis along which the triangle has an area, or None."""
    return next((axis for axis in range(3) if turn(*t, axis)), None)


def overlap_in_plane(a, b):
    """Whether triangles of one plane have an area in common: no side of either parts them."""
    axis = plane_axis(a)

    def parts(s, t):
        hand = turn(*s, axis)
        return any(all(turn(s[i - 1], s[i], c, axis) * hand <= 0 for c in t) for i in range(3))

    return not parts(a, b) and not parts(b, a)


def edge_pierces(p, q, t):
    """Whether a segment passes from one side of a triangle to the other through it, its border included."""
    if side(t, p) * side(t, q) >= 0:
        return False
    hands = {side((p, q, t[i - 1]), t[i]) for i in range(3)}
    return not {1, -1} <= hands


def cross(a, b):
    """Whether triangles with an area overlap in their plane or one's side passes through the other."""
    if len(set(a) & set(b)) == 3:
        return True
    if all(side(a, corner) == 0 for corner in b):
        return overlap_in_plane(a, b)
    return any(edge_pierces(s[i - 1], s[i], t) for s, t in ((a, b), (b, a)) for i in range(3))


def crossing_faces(corners, suspects):
    """How many of the suspects cross any other triangle. `corners`: `[face, corner, axis]`."""
    low, high = corners.min(axis=1), corners.max(axis=1)
    found = 0
    for face in suspects:
        is_near = (low <= high[face]).all(axis=1) & (low[face] <= high).all(axis=1)
        is_near[face] = False
        this, *others = whole_numbers(corners[[face, *numpy.flatnonzero(is_near)]])
        found += plane_axis(this) is not None and any(plane_axis(t) is not None and cross(this, t) for t in others)
    return found
