"""missing_views.py BINARY OUT: what lost frames cost, at full size, without noise and with it.

`spine-spin` (248 views of 616x480, 256^3) of the chest CT cut to a cylinder that no view truncates, once ideal and once
with noise, blur, wobble and panel faults (no scatter, no lag). Of each run three volumes are made: from all frames, with two
random drops (1 %), and with a gap of ten views as well, the frames dropped by `replay --faults`. RMS errors against the
true volume, inside the field of view, in HU. The noisy run once more at 384^3: what the gap changes, what predicting takes in
seconds and memory. Prints one JSON object and writes OUT/missing_views.json; exits 1 when the gap
adds more to the noisy run's error than asked. Needs numpy, scipy, nibabel and SimpleITK.
"""
import json, pathlib, sys
import numpy as np
import real_ct

ADDED_RMS_MAX_HU = 1.0
DROPS = 'seed = 1\n[[fault]]\nkind = "drop"\nframes = [41, 41]\n[[fault]]\nkind = "drop"\nframes = [207, 207]\n'
GAP = '[[fault]]\nkind = "drop"\nframes = [150, 159]\n'
FIELD_OF_VIEW = 1
FINE = ["--grid", "384", "--voxel-mm", "0.64"]


def main(binary, out):
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    cylinder = out / "cylinder.nii.gz"
    real_ct.cut(real_ct.DATA / "lidc_idri_0001_thorax.nii.gz", cylinder)
    schedules = {"drops": DROPS, "drops and gap": DROPS + GAP}
    report, failed = {}, []
    volume, field, faults = out / "missing.mha", out / "missing_mask.mha", out / "faults.toml"

    def made_whole(spin, *options):
        """The volume of all frames, and where every view sees."""
        real_ct.run(binary, "reconstruct", spin, "--out", volume, "--mask", field, *options)
        return real_ct.read(volume)[0], (real_ct.read(field)[0].astype(int) & FIELD_OF_VIEW) != 0

    def made_without(spin, schedule, *options):
        """The volume of the frames that a schedule leaves, and what the program tells of it."""
        faults.write_text(schedule)
        told = real_ct.run(binary, "replay", spin, "--speed", "max", "--faults", faults, "--out", volume, *options)
        return real_ct.read(volume)[0], told["volume"]

    def rms(difference, inside):
        return round(float(np.sqrt((difference[inside].astype(np.float64) ** 2).mean())), 2)

    for name, options in {"ideal": ["--ideal"], "noisy": ["--without", "scatter,lag"]}.items():
        spin, truth = out / f"{name}.mcap", out / f"{name}_truth.mha"
        made = real_ct.run(binary, "simulate", cylinder, "--labels", real_ct.DATA / "lidc_idri_0001_thorax_labels.nii.gz",
                           "--protocol", "spine-spin", "--out", spin, "--truth-volume", truth, *options)
        true_hu = 1000 * (real_ct.read(truth)[0] / made["mu_water_per_mm"] - 1)
        whole, inside = made_whole(spin)
        of_whole = rms(whole - true_hu, inside)
        report[name] = {"voxels": int(inside.sum()), "rms_error_all_views_hu": of_whole}
        for what, schedule in schedules.items():
            missing, told = made_without(spin, schedule)
            error = rms(missing - true_hu, inside)
            report[name][what] = {"rms_error_hu": error, "added_hu": round(error - of_whole, 2),
                                  "rms_between_volumes_hu": rms(missing - whole, inside),
                                  "prediction_s": round(told["stage_seconds"]["missing-views"], 1)}
            if name == "noisy" and not error - of_whole < ADDED_RMS_MAX_HU:
                failed.append(f"{name}, {what}: expected under {ADDED_RMS_MAX_HU} HU more, found {error - of_whole:.2f}")
    whole, inside = made_whole(spin, *FINE)
    missing, told = made_without(spin, schedules["drops and gap"], *FINE)
    report["noisy, 384^3"] = {"rms_between_volumes_hu": rms(missing - whole, inside),
                              "prediction_s": round(told["stage_seconds"]["missing-views"], 1),
                              "peak_rss_mib": told["peak_rss_mib"]}
    report["failed"] = failed
    (out / "missing_views.json").write_text(json.dumps(report, indent=1))
    print(json.dumps(report, indent=1))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
