"""Analog Monte Carlo of X-ray scatter from one homogeneous convex body of water, vectorised with numpy.

Cross sections, incoherent scattering functions and form factors from xraylib; photoelectric absorption ends a history,
Compton and Rayleigh scattering sample tabulated angular distributions (Klein-Nishina times S(x), Thomson times F(x)^2,
both of H2O as independent atoms). No variance reduction. Source at (0, -785, 0), detector plane y = 415, mm; the body
surrounds the origin. A photon counts with the energy that 0.6 mm of packed CsI absorbs along its own direction.
"""
import csv
from pathlib import Path

import numpy as np
import xraylib

SOURCE_Y, DETECTOR_Y = -785.0, 415.0
DATA = Path(__file__).resolve().parent.parent / "data"
ELECTRON_KEV = 510.99895
WATER = {1: (2, 0.111894), 8: (1, 0.888106)}


def spectrum(name):
    with open(DATA / "spectra.csv", newline="") as table:
        rows = list(csv.DictReader(table))
    return np.array([float(r["energy_kev"]) for r in rows]), np.array([float(r[name]) for r in rows])


def scintillator(energy_kev, cosine):
    fractions = {55: 0.511549, 53: 0.488451}
    table_e = np.arange(5.0, 127.0)
    mu = np.array([sum(w * xraylib.CS_Total(z, e) for z, w in fractions.items()) for e in table_e])
    return 1 - np.exp(-np.interp(energy_kev, table_e, mu) * 4.51 * 0.8 * 0.06 / cosine)


class Water:
    """Interaction coefficients in 1/mm and angular distributions on a 1 keV grid."""

    def __init__(self):
        self.energy = np.arange(5.0, 127.0)
        def mix(f):
            return 0.1 * np.array([sum(w * f(z, e) for z, (_, w) in WATER.items()) for e in self.energy])
        self.compton, self.rayleigh = mix(xraylib.CS_Compt), mix(xraylib.CS_Rayl)
        self.total = mix(xraylib.CS_Total)
        self.cosine = np.linspace(-1, 1, 721)
        self.compton_cdf = np.array([self._cdf(e, self._compton_pdf) for e in self.energy])
        self.rayleigh_cdf = np.array([self._cdf(e, self._rayleigh_pdf) for e in self.energy])

    def _momentum(self, e):
        return xraylib.MomentTransf(float(e), np.pi) * np.sqrt((1 - self.cosine) / 2)

    def _compton_pdf(self, e):
        k = 1 / (1 + e / ELECTRON_KEV * (1 - self.cosine))
        kn = k**2 * (k + 1 / k - (1 - self.cosine**2))
        q = self._momentum(e)
        s = sum(n * np.array([xraylib.SF_Compt(z, float(x)) if x > 0 else 0.0 for x in q]) for z, (n, _) in WATER.items())
        return kn * s

    def _rayleigh_pdf(self, e):
        q = self._momentum(e)
        f2 = sum(n * np.array([xraylib.FF_Rayl(z, float(x)) for x in q]) ** 2 for z, (n, _) in WATER.items())
        return (1 + self.cosine**2) * f2

    def _cdf(self, e, pdf):
        p = pdf(e)
        c = np.concatenate([[0], np.cumsum((p[1:] + p[:-1]) / 2)])
        return c / c[-1]

    def row(self, energy):
        return np.clip(np.rint(energy - self.energy[0]).astype(int), 0, len(self.energy) - 1)

    def sample(self, cdf, energy, u):
        flat = (cdf + np.arange(len(self.energy))[:, None]).ravel()
        place = np.searchsorted(flat, self.row(energy) + u)
        n = np.clip(place - self.row(energy) * len(self.cosine), 1, len(self.cosine) - 1)
        row = self.row(energy)
        low, high = cdf[row, n - 1], cdf[row, n]
        share = np.where(high > low, (u - low) / np.maximum(high - low, 1e-300), 0.5)
        return self.cosine[n - 1] + share * (self.cosine[1] - self.cosine[0])


class Cylinder:
    """Along z, centred."""

    def __init__(self, diameter, length):
        self.r, self.half = diameter / 2, length / 2

    def crossing(self, p, d):
        a = d[:, 0]**2 + d[:, 1]**2
        b = p[:, 0] * d[:, 0] + p[:, 1] * d[:, 1]
        c = p[:, 0]**2 + p[:, 1]**2 - self.r**2
        with np.errstate(divide="ignore", invalid="ignore"):
            root = np.sqrt(np.maximum(b * b - a * c, 0))
            near, far = (-b - root) / a, (-b + root) / a
            z1, z2 = (-self.half - p[:, 2]) / d[:, 2], (self.half - p[:, 2]) / d[:, 2]
        low = np.maximum(near, np.minimum(z1, z2))
        high = np.minimum(far, np.maximum(z1, z2))
        miss = (b * b - a * c <= 0) | ~(high > low)
        return np.where(miss, 0, low), np.where(miss, 0, high)


class Slab:
    """Across y, centred, wide."""

    def __init__(self, thickness):
        self.half = thickness / 2

    def crossing(self, p, d):
        with np.errstate(divide="ignore", invalid="ignore"):
            y1, y2 = (-self.half - p[:, 1]) / d[:, 1], (self.half - p[:, 1]) / d[:, 1]
        return np.minimum(y1, y2), np.maximum(y1, y2)


def turned(d, cosine, phi):
    """Directions turned by the polar angle about themselves."""
    sine = np.sqrt(np.maximum(1 - cosine**2, 0))
    helper = np.where(np.abs(d[:, 2:3]) < 0.9, [[0, 0, 1.0]], [[1.0, 0, 0]])
    a = np.cross(d, helper)
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    b = np.cross(d, a)
    out = d * cosine[:, None] + sine[:, None] * (a * np.cos(phi)[:, None] + b * np.sin(phi)[:, None])
    return out / np.linalg.norm(out, axis=1, keepdims=True)


def scatter(body, spectrum_name, histories, field_mm, seed, water, tally):
    """Sends `histories` photons, uniform over a field `(u, v)` mm at the detector (0: a pencil), through the body.

    Calls `tally(u_mm, v_mm, absorbed_kev)` for scattered photons that cross the detector plane. Returns the absorbed
    energy of the bare beam.
    """
    rng = np.random.default_rng(seed)
    energies, weights = spectrum(spectrum_name)
    edges = np.cumsum(weights) / weights.sum()
    bare = 0.0
    batch = 400_000
    for start in range(0, histories, batch):
        n = min(batch, histories - start)
        e = energies[np.searchsorted(edges, rng.random(n))]
        target = np.stack([(rng.random(n) - 0.5) * field_mm[0], np.full(n, DETECTOR_Y),
                           (rng.random(n) - 0.5) * field_mm[1]], axis=1)
        p = np.tile([0.0, SOURCE_Y, 0.0], (n, 1))
        d = target - p
        d /= np.linalg.norm(d, axis=1, keepdims=True)
        bare += (e * scintillator(e, 1.0)).sum()
        low, high = body.crossing(p, d)
        hit = high > np.maximum(low, 0)
        p, d, e = (p + d * low[:, None])[hit], d[hit], e[hit]
        scattered = np.zeros(len(e), bool)
        while len(e):
            _, leave = body.crossing(p, d)
            row = water.row(e)
            mu = water.total[row]
            free = -np.log(rng.random(len(e))) / mu
            out = free >= np.maximum(leave, 0)
            gone = out & scattered & (d[:, 1] > 0)
            t = (DETECTOR_Y - p[gone, 1]) / d[gone, 1]
            at = p[gone] + d[gone] * t[:, None]
            tally(at[:, 0], at[:, 2], e[gone] * scintillator(e[gone], d[gone, 1]))
            p, d, e, row = (p + d * free[:, None])[~out], d[~out], e[~out], row[~out]
            draw = rng.random(len(e)) * water.total[row]
            compton = draw < water.compton[row]
            rayleigh = ~compton & (draw < water.compton[row] + water.rayleigh[row])
            keep = compton | rayleigh
            p, d, e, compton = p[keep], d[keep], e[keep], compton[keep]
            u = rng.random(len(e))
            cosine = np.where(compton, water.sample(water.compton_cdf, e, u), water.sample(water.rayleigh_cdf, e, u))
            d = turned(d, cosine, 2 * np.pi * rng.random(len(e)))
            e = np.where(compton, e / (1 + e / ELECTRON_KEV * (1 - cosine)), e)
            alive = e > 8
            p, d, e = p[alive], d[alive], e[alive]
            scattered = np.ones(len(e), bool)
    return bare
