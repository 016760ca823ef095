"""DICOM files of a patient, written with pydicom; to be imported where that is known to be there."""

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

PATIENT = "DOE^JANE"


def write_dicom(path, pixels, kind="MONOCHROME2", bits=8, signed=False, **tags):
    """A DICOM file with these pixels: [h, w], [frames, h, w] or, for RGB, [h, w, 3]."""
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    header.PatientName, header.PatientID = PATIENT, "4711-0815"
    colour = kind == "RGB"
    header.SamplesPerPixel = 3 if colour else 1
    if colour:
        header.PlanarConfiguration = 0
    header.PhotometricInterpretation = kind
    height = 0 if pixels.ndim == 2 or colour else 1
    header.Rows, header.Columns = pixels.shape[height : height + 2]
    if height:
        header.NumberOfFrames = len(pixels)
    header.BitsAllocated = 8 if bits <= 8 else 16
    header.BitsStored, header.HighBit = bits, bits - 1
    header.PixelRepresentation = int(signed)
    for name, value in tags.items():
        setattr(header, name, value)
    dtype = {(8, False): "u1", (16, False): "<u2", (16, True): "<i2"}[header.BitsAllocated, signed]
    header.PixelData = pixels.astype(dtype).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    header.save_as(path, enforce_file_format=True)
    return path
