"""missing_views.py BINARY OUT: what lost frames cost, at full size, without noise and with it.

`spine-spin` (248 views of 616x480, 256^3) of the chest CT cut to a cylinder that no view truncates, once ideal and once
with noise, blur, wobble and panel faults (no scatter, no lag). Of each run three volumes are made: from all frames, with two
random drops (1 %), and with a gap of ten views as well, the frames dropped by `replay --faults`. RMS errors against the
true volume, inside the field of view, in HU. Prints one JSON object and writes OUT/missing_views.json; exits 1 when the gap
adds more to the noisy run's error than asked. Needs numpy, scipy, nibabel and SimpleITK.
"""
import json, pathlib, sys
import numpy as np
import real_ct

ADDED_RMS_MAX_HU = 1.0
DROPS = 'seed = 1\n[[fault]]\nkind = "drop"\nframes = [41, 41]\n[[fault]]\nkind = "drop"\nframes = [207, 207]\n'
GAP = '[[fault]]\nkind = "drop"\nframes = [150, 159]\n'
FIELD_OF_VIEW = 1


def main(binary, out):
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    cylinder = out / "cylinder.nii.gz"
    real_ct.cut(real_ct.DATA / "lidc_idri_0001_thorax.nii.gz", cylinder)
    schedules = {"drops": DROPS, "drops and gap": DROPS + GAP}
    report, failed = {}, []
    for name, options in {"ideal": ["--ideal"], "noisy": ["--without", "scatter,lag"]}.items():
        spin, truth = out / f"{name}.mcap", out / f"{name}_truth.mha"
        made = real_ct.run(binary, "simulate", cylinder, "--labels", real_ct.DATA / "lidc_idri_0001_thorax_labels.nii.gz",
                           "--protocol", "spine-spin", "--out", spin, "--truth-volume", truth, *options)
        true_hu = 1000 * (real_ct.read(truth)[0] / made["mu_water_per_mm"] - 1)
        volume, field = out / f"{name}.mha", out / f"{name}_mask.mha"
        real_ct.run(binary, "reconstruct", spin, "--out", volume, "--mask", field)
        inside = (real_ct.read(field)[0].astype(int) & FIELD_OF_VIEW) != 0
        whole = real_ct.read(volume)[0]
        rms = lambda difference: round(float(np.sqrt((difference[inside].astype(np.float64) ** 2).mean())), 2)
        report[name] = {"voxels": int(inside.sum()), "rms_error_all_views_hu": rms(whole - true_hu)}
        for what, schedule in schedules.items():
            faults = out / "faults.toml"
            faults.write_text(schedule)
            real_ct.run(binary, "replay", spin, "--speed", "max", "--faults", faults, "--out", volume)
            missing = real_ct.read(volume)[0]
            added = round(rms(missing - true_hu) - report[name]["rms_error_all_views_hu"], 2)
            report[name][what] = {"rms_error_hu": rms(missing - true_hu), "added_hu": added,
                                  "rms_between_volumes_hu": rms(missing - whole)}
            if name == "noisy" and not added < ADDED_RMS_MAX_HU:
                failed.append(f"{name}, {what}: expected under {ADDED_RMS_MAX_HU} HU more, found {added}")
    report["failed"] = failed
    (out / "missing_views.json").write_text(json.dumps(report, indent=1))
    print(json.dumps(report, indent=1))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
