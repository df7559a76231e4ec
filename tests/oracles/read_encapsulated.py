"""What pydicom finds in an encapsulated document, and the SHA-256 of the document: python read_encapsulated.py FILE"""

import hashlib
import json
import sys

import pydicom


def main():
    data = pydicom.dcmread(sys.argv[1])
    document = bytes(data.EncapsulatedDocument)[: data.EncapsulatedDocumentLength]
    print(
        json.dumps(
            {
                "class": data.SOPClassUID.name,
                "mime": data.MIMETypeOfEncapsulatedDocument,
                "modality": data.Modality,
                "unit": data.MeasurementUnitsCodeSequence[0].CodeValue,
                "frame_of_reference": data.FrameOfReferenceUID,
                "title": data.DocumentTitle,
                "sha256": hashlib.sha256(document).hexdigest(),
                "stl": document[84:].hex() if len(document) < 4096 else None,
            }
        )
    )


main()
