"""Reads every message and attachment of a run with the mcap package, checksums on, and tells what it saw."""

import hashlib
import json
import sys
from collections import Counter

from mcap.reader import NonSeekingReader, make_reader

path = sys.argv[1]
with open(path, "rb") as file:
    reader = make_reader(file, validate_crcs=True)
    header = reader.get_header()
    summary = reader.get_summary()
    attachments = [(a.name, a.media_type, hashlib.sha256(a.data).hexdigest()) for a in reader.iter_attachments()]
    topics, kinds, sequences = Counter(), Counter(), []
    frame_metadata, schema_text = {}, ""
    for schema, channel, message in reader.iter_messages():
        topics[channel.topic] += 1
        if channel.topic == "/frames":
            frame_metadata, schema_text = channel.metadata, schema.data.decode()
            sequences.append(int.from_bytes(message.data[16:24], "little"))
        else:
            kinds[json.loads(message.data)["kind"]] += 1
            json.loads(schema.data)
with open(path, "rb") as file:
    in_stream = sum(1 for _ in NonSeekingReader(file, validate_crcs=True).iter_messages())

print(json.dumps({
    "profile": header.profile,
    "topics": topics,
    "kinds": kinds,
    "sequences": sequences,
    "frame_metadata": frame_metadata,
    "schema_text": schema_text,
    "attachments": attachments,
    "message_count": summary.statistics.message_count,
    "messages_in_stream": in_stream,
}))
