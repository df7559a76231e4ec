"""generate.py OUT [w1 w2 w3] [--wobble] [--yaw DEG] [--offset SHARE] [--sphere] [--vol 256]: exact projections and the drawn phantom.

Line integrals and phantom are RTK's (closed form, no projector): the Shepp-Logan phantom, or one sphere of water. Writes
OUT/<name>[_wobble][_yaw<DEG>][_offset<SHARE>][_slide<MM>][_sphere] as data_set.py says.
"""

import argparse
import os

import itk
import numpy as np
from itk import RTK as rtk

import data_set

IMAGE = itk.Image[itk.F, 3]


def of_sphere(found):
    found.SetDensity(1.02)
    found.SetCenter(data_set.SPHERE_CENTRE_MM)
    found.SetAxis([data_set.SPHERE_RADIUS_MM] * 3)
    found.SetAngle(0.0)


def project(geometry, meta, sphere):
    empty = np.zeros((meta["n"], meta["nv"], meta["nu"]), np.float32)
    phantom = (rtk.RayEllipsoidIntersectionImageFilter if sphere else rtk.SheppLoganPhantomFilter)[IMAGE, IMAGE].New()
    phantom.SetInput(data_set.projection_image(empty, meta))
    phantom.SetGeometry(geometry)
    if sphere:
        of_sphere(phantom)
    else:
        phantom.SetPhantomScale(meta["scale"])
    phantom.InPlaceOff()
    phantom.Update()
    return itk.array_from_image(phantom.GetOutput())


def draw(volume, meta, sphere):
    drawn = (rtk.DrawEllipsoidImageFilter if sphere else rtk.DrawSheppLoganFilter)[IMAGE, IMAGE].New()
    drawn.SetInput(data_set.volume_image(volume["n"], volume["s"]))
    if sphere:
        of_sphere(drawn)
    else:
        drawn.SetPhantomScale(meta["scale"])
    drawn.InPlaceOff()
    drawn.Update()
    return itk.array_from_image(drawn.GetOutput())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out")
    parser.add_argument("which", nargs="*", default=["w1", "w2"])
    parser.add_argument("--wobble", action="store_true")
    parser.add_argument("--yaw", type=float, default=0.0, help="detector yaw through the sweep, degrees")
    parser.add_argument("--offset", type=float, default=0.0, help="shift of the detector along its rows, share of its width")
    parser.add_argument("--slide", type=float, default=0.0, help="way that the detector slides along its rows to either side, mm")
    parser.add_argument("--sphere", action="store_true", help="one sphere of water instead of the head")
    parser.add_argument("--views", type=int, default=0, help="another number of views")
    parser.add_argument("--vol", action="append", help="draw only these volumes (default: all of the workload)")
    arguments = parser.parse_args()
    for name in arguments.which:
        meta = dict(data_set.WORKLOADS[name])
        meta["n"] = arguments.views or meta["n"]
        meta["offset"] = arguments.offset
        suffix = ("_wobble" if arguments.wobble else "") + (f"_yaw{arguments.yaw:g}" if arguments.yaw else "")
        suffix += f"_offset{arguments.offset:g}" if arguments.offset else ""
        suffix += f"_slide{arguments.slide:g}" if arguments.slide else ""
        suffix += "_sphere" if arguments.sphere else ""
        folder = os.path.join(arguments.out, name + suffix)
        os.makedirs(folder, exist_ok=True)
        for key, volume in meta["vols"].items():
            if not arguments.vol or key in arguments.vol:
                draw(volume, meta, arguments.sphere).astype("<f4").tofile(os.path.join(folder, f"truth_{key}.raw"))
        geometry = data_set.geometry_from_views(data_set.views(meta, arguments.wobble, arguments.yaw, arguments.offset, arguments.slide))
        projections = project(geometry, meta, arguments.sphere)
        edge = max(np.abs(projections[:, :, [0, -1]]).max(), np.abs(projections[:, [0, -1], :]).max())
        data_set.save(folder, meta, projections, data_set.matrices_from_geometry(geometry, meta))
        print(f"{name + suffix}: {meta['n']} views, largest {projections.max():.2f}, on the detector's edge {edge:.3g}")


if __name__ == "__main__":
    main()
