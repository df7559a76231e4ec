#!/usr/bin/env python3
"""Decode the frames of a run into a NumPy stack: read_run.py RUN.mcap OUT.npy

OUT.npy holds uint16 counts [frame, v, u] in the order of recording. Needs mcap, numpy and zstandard.
The record's layout is schemas/frame.txt, which every run file also carries as the schema of /frames.
"""

import struct
import sys
import zlib

import numpy as np
import zstandard
from mcap.reader import make_reader

HEADER_BYTES = 120


def decode(record):
    """Sequence number and counts [v, u] of one frame record."""
    (crc,) = struct.unpack_from("<I", record, len(record) - 4)
    if record[:4] != b"ISFR" or record[4] != 1 or zlib.crc32(record[:-4]) != crc:
        raise ValueError("a frame record is damaged")
    nu, nv, sequence = struct.unpack_from("<IIQ", record, 8)
    packed = record[HEADER_BYTES:-4]
    if record[5] == 0:
        return sequence, np.frombuffer(packed, "<u2").reshape(nv, nu)
    planes = zstandard.ZstdDecompressor().decompress(packed, max_output_size=2 * nu * nv)
    low, high = np.frombuffer(planes, np.uint8).reshape(2, nv, nu).astype(np.uint16)
    folded = low | high << 8
    difference = (folded >> 1) ^ (0 - (folded & 1)).astype(np.uint16)
    difference[:, 0] = np.cumsum(difference[:, 0], dtype=np.uint16)
    return sequence, np.cumsum(difference, axis=1, dtype=np.uint16)


def main(run, out):
    with open(run, "rb") as file:
        messages = make_reader(file, validate_crcs=True).iter_messages(topics=["/frames"], log_time_order=False)
        frames = [decode(message.data) for _, _, message in messages]
    if not frames:
        sys.exit(f"{run}: expected frames, found none")
    np.save(out, np.stack([counts for _, counts in frames]))
    print(f"{len(frames)} frames, sequence {frames[0][0]} to {frames[-1][0]}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
