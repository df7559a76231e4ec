"""Runs every program in a process of its own, one after the other, and keeps what is dear to make.

Data sets and the peers' results are kept below the output folder and used again; our own are always made anew.
"""

import json
import os
import subprocess
import sys

import itk
import numpy as np

import data_set

HERE = os.path.dirname(os.path.abspath(__file__))

class ProgramFailed(Exception):
    """A program that ended badly or gave something other than asked; the text says which and what."""


def run(command):
    """Standard output of a command, which must succeed. Its standard error is shown only when it does not."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise ProgramFailed(f"{os.path.basename(command[0])} exited {done.returncode}: {done.stderr.strip()[-800:]}")
    return done.stdout


def one_json(text, who):
    """The JSON object that is all of a text, or its last line where a library has talked before it."""
    for candidate in (text, (text.strip().splitlines() or [""])[-1]):
        try:
            found = json.loads(candidate)
        except ValueError:
            continue
        if isinstance(found, dict):
            return found
    raise ProgramFailed(f"{who}: expected one JSON object on standard output, found {text[:200]!r}")


def data(out, case):
    """The folder of a case's data set, generated where it is not whole."""
    folder = os.path.join(out, "data", case.data)
    truth = os.path.join(folder, f"truth_{case.volume}.raw")
    if not (os.path.exists(os.path.join(folder, "meta.json")) and os.path.exists(truth)):
        print(f"{case.data}: generating exact projections", flush=True)
        run([sys.executable, os.path.join(HERE, "generate.py"), os.path.join(out, "data"), case.workload,
             "--vol", case.volume, *case.options])
    return folder


def peer(out, script, case, options, fresh):
    """A peer's figures and volume; `cached` in the figures says that they are of an earlier run."""
    stem = os.path.join(out, os.path.splitext(script)[0], case.name)
    if not fresh and os.path.exists(stem + ".json") and os.path.exists(stem + ".raw"):
        with open(stem + ".json", encoding="utf-8") as file:
            return dict(json.load(file), cached=True), stem + ".raw"
    os.makedirs(os.path.dirname(stem), exist_ok=True)
    print(f"{case.name}: {script}", flush=True)
    text = run([sys.executable, os.path.join(HERE, script), os.path.join(out, "data", case.data),
                "--vol", case.volume, "--out", stem + ".raw", *options])
    figures = one_json(text, script)
    with open(stem + ".json", "w", encoding="utf-8") as file:
        json.dump(figures, file)
    return dict(figures, cached=False), stem + ".raw"


def kept_volumes(out, name, size, spacing_mm):
    """Volumes of a case that ran before, RTK's and ours, as far as they are there."""
    kept = {"RTK": (os.path.join(out, "rtk_fdk", name + ".raw"), lambda path: data_set.load_volume(path, size)),
            "Isocenter": (os.path.join(out, "isocenter", name + ".mha"), lambda path: read_volume(path, size, spacing_mm))}
    return {program: read(path) for program, (path, read) in kept.items() if os.path.exists(path)}


def isocenter(out, binary, case, threads, reps):
    """Our figures (those of the fastest run, with every run's seconds) and our volume as an array [z, y, x]."""
    folder = os.path.join(out, "data", case.data)
    size, spacing_mm = (data_set.load_meta(folder)["vols"][case.volume][key] for key in ("n", "s"))
    target = os.path.join(out, "isocenter", case.name + ".mha")
    os.makedirs(os.path.dirname(target), exist_ok=True)
    print(f"{case.name}: isocenter", flush=True)
    runs = []
    for _ in range(reps):
        if os.path.exists(target):
            os.remove(target)
        text = run([binary, "reconstruct", os.path.join(folder, "proj.raw"), "--grid", str(size),
                    "--voxel-mm", str(spacing_mm), "--filter", f"hann:{case.hann}" if case.hann else "ramp", "--out", target, "--json",
                    "--threads", str(threads)])
        runs.append(one_json(text, "isocenter"))
    if len({figures.get("volume_hash") for figures in runs}) != 1:
        raise ProgramFailed(f"isocenter gave {len(runs)} runs of {case.name} different volume hashes")
    if any(not isinstance(figures.get("reconstruct_s"), (int, float)) for figures in runs):
        raise ProgramFailed("isocenter: expected reconstruct_s, a number of seconds, in its JSON, found none")
    best = dict(min(runs, key=lambda figures: figures["reconstruct_s"]))
    best["runs_s"] = [round(figures["reconstruct_s"], 4) for figures in runs]
    return best, read_volume(target, size, spacing_mm)


def read_volume(path, size, spacing_mm):
    """A volume through ITK, refused unless it lies on the grid that was asked for."""
    image = itk.imread(path, itk.F)
    origin = -(size - 1) / 2 * spacing_mm
    expected = [[size] * 3, [spacing_mm] * 3, [origin] * 3, list(np.eye(3).ravel())]
    found = [list(image.GetLargestPossibleRegion().GetSize()), list(image.GetSpacing()), list(image.GetOrigin()),
             list(itk.array_from_matrix(image.GetDirection()).ravel())]
    for what, wanted, got in zip(["size", "spacing in mm", "origin in mm", "direction"], expected, found):
        if not np.allclose(wanted, got, rtol=1e-6, atol=1e-6):
            raise ProgramFailed(f"isocenter's volume: expected {what} {wanted}, found {got}")
    return itk.array_from_image(image)
