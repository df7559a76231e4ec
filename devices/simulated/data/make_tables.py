#!/usr/bin/env python3
"""Makes spectra.csv (SpekPy) and attenuation.csv (xraylib). Run in this folder; the output depends on nothing else.

spectra.csv: photons per mm2, mAs and 1 keV bin at 1000 mm from the focal spot on the central axis; bin centres in keV.
Tungsten, 12 degree anode, SpekPy's "casim" physics, 2.5 mm aluminium inherent filtration, then copper as named.
attenuation.csv: mass attenuation mu/rho in cm2/g (total, coherent scatter included) at each bin centre, with the
incoherent and coherent parts of water for the scatter model. Compositions are mass fractions from ICRU Report 44 and
the alloys' standards; densities in g/cm3 in the second line.
"""
import csv

import numpy as np
import spekpy
import xraylib

ENERGIES_KEV = np.arange(15, 126)
SPECTRA = [(70, 0.6), (80, 0.3), (90, 0.3), (110, 0.3), (120, 0.3)]
MATERIALS = {
    "water": (1.0, {"H": 0.111894, "O": 0.888106}),
    "adipose": (0.95, {"H": 0.114, "C": 0.598, "N": 0.007, "O": 0.278, "Na": 0.001, "S": 0.001, "Cl": 0.001}),
    "cortical_bone": (1.92, {"H": 0.034, "C": 0.155, "N": 0.042, "O": 0.435, "Na": 0.001, "Mg": 0.002, "P": 0.103,
                             "S": 0.003, "Ca": 0.225}),
    "iodine": (4.93, {"I": 1.0}),
    "titanium_alloy": (4.43, {"Ti": 0.9, "Al": 0.06, "V": 0.04}),
    "cobalt_chrome": (8.3, {"Co": 0.65, "Cr": 0.29, "Mo": 0.06}),
    "steel_316l": (7.99, {"Fe": 0.655, "Cr": 0.17, "Ni": 0.12, "Mo": 0.025, "Mn": 0.02, "Si": 0.01}),
    "nitinol": (6.45, {"Ni": 0.55, "Ti": 0.45}),
    "platinum": (21.45, {"Pt": 1.0}),
    "tantalum": (16.65, {"Ta": 1.0}),
    "barium_polymer": (1.6, {"C": 0.463, "H": 0.037, "O": 0.2, "Ba": 0.235, "S": 0.065}),
    "pmma": (1.18, {"H": 0.080538, "C": 0.599848, "O": 0.319614}),
    "carbon_fibre": (1.55, {"C": 1.0}),
    "cesium_iodide": (4.51, {"Cs": 0.511549, "I": 0.488451}),
}


def mix(fractions, cross_section):
    total = sum(fractions.values())
    parts = [(xraylib.SymbolToAtomicNumber(symbol), share / total) for symbol, share in fractions.items()]
    return [sum(share * cross_section(z, float(e)) for z, share in parts) for e in ENERGIES_KEV]


def write(path, header, rows):
    with open(path, "w", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerows(header)
        writer.writerows([[str(int(e)), *(f"{x:.6g}" for x in row)] for e, row in zip(ENERGIES_KEV, rows)])


def spectrum(kv, copper_mm):
    s = spekpy.Spek(kvp=kv, th=12, dk=1.0, physics="casim", mu_data_source="pene", z=100.0, mas=1.0)
    s.multi_filter([("Al", 2.5), ("Cu", copper_mm)])
    k, fluence_per_cm2_kev = s.get_spectrum(edges=False, diff=True)
    # SpekPy's 1 keV bins are centred on half keV; sample them at whole keV, where the attenuation is tabulated.
    return np.interp(ENERGIES_KEV, k, fluence_per_cm2_kev, left=0, right=0) / 100.0


def main():
    names = [f"w{kv}_cu{copper}" for kv, copper in SPECTRA]
    columns = np.array([spectrum(kv, copper) for kv, copper in SPECTRA]).T
    write("spectra.csv", [["energy_kev", *names]], columns)
    tables = {name: mix(fractions, xraylib.CS_Total) for name, (_, fractions) in MATERIALS.items()}
    densities = {name: density for name, (density, _) in MATERIALS.items()}
    tables["water_incoherent"] = mix(MATERIALS["water"][1], xraylib.CS_Compt)
    tables["water_coherent"] = mix(MATERIALS["water"][1], xraylib.CS_Rayl)
    densities["water_incoherent"] = densities["water_coherent"] = 1.0
    write("attenuation.csv", [["energy_kev", *tables], ["density_g_cm3", *densities.values()]],
          np.array(list(tables.values())).T)


if __name__ == "__main__":
    main()
