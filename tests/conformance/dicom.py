"""DICOM images against pydicom: `tests/conformance/run dicom`.

Every file with pixels of the packages pydicom and pydicom-data, first and last frame, either is what pydicom makes of it
(pixel_array in RGB, apply_modality_lut, apply_voi_lut, apply_color_lut) in 8 bits, or is refused for one of REASONS.  Bounds,
chosen before the figures were seen: 1 level for rounding; 2 for lossy JPEG, whose inverse transforms differ between libraries.
Stored samples of lossless greys and palettes are equal to the bit.
Every text of their headers, asked for by its tag, is the string that pydicom has, or is refused for the reason that its value gives.
What a viewer decides beyond that (PresentationLUTShape, padding) is compared with DCMTK's dcmj2pnm where it is installed.
Then N_MUTATED damaged files: the tool must live through each.

`tests/conformance/run dicom -- --corpus FOLDER` writes instead the small files of tests/fuzz/corpus/dicom, which
tests/unit/coordinator/image/test_dicom.c decodes as well (image: 3 x + 3 y, 48 x 32; times 16 in 12 bits)."""

import argparse
import importlib.util
import io
import os
import pathlib
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import pydicom
from pydicom import encaps, uid
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, pixel_array

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("PALMGROVE_BUILD_DIR", ROOT / "build/release"))
N_MUTATED = 1000
LOSSY_JPEG = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
ONLY_IF_PYDICOM_FAILS = "damaged DICOM"
REASONS = ("BitsAllocated", "truncated DICOM", "transfer syntax", "has no Rows", "not an image that is read here",
           "are floats", "has no PixelData", "segmented tables")


class Tool:
    """One process of dicom_tool; started again when it has died."""

    def __init__(self):
        self.start()

    def start(self):
        self.process = subprocess.Popen([BUILD / "tests/conformance/dicom_tool"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def read(self, n):
        data = self.process.stdout.read(n)
        if len(data) != n:
            raise EOFError(f"dicom_tool ended with code {self.process.wait()}")
        return data

    def samples(self, data, frame=0):
        """Stored samples [rows, columns] of a file that decodes."""
        self.process.stdin.write(struct.pack("=III", 1, frame, len(data)) + data)
        self.process.stdin.flush()
        status, width, height, _, n = struct.unpack("=5I", self.read(20))
        body = self.read(n)
        assert status == 0, body.decode()
        return np.frombuffer(body, np.uint16).reshape(height, width)

    def text(self, data, tag):
        """(is it there, the element's text or the refusal)"""
        self.process.stdin.write(struct.pack("=III", 2, tag, len(data)) + data)
        self.process.stdin.flush()
        status, _, _, _, n = struct.unpack("=5I", self.read(20))
        return status == 0, self.read(n).decode()

    def cut(self, data, frame):
        """The bytes of a file of that frame, or None."""
        self.process.stdin.write(struct.pack("=III", 3, frame, len(data)) + data)
        self.process.stdin.flush()
        status, _, _, _, n = struct.unpack("=5I", self.read(20))
        body = self.read(n)
        return None if status else body

    def decode(self, data, frame=0):
        """An image [height, width, channels], or the text of the refusal."""
        self.process.stdin.write(struct.pack("=III", 0, frame, len(data)) + data)
        self.process.stdin.flush()
        status, width, height, channels, n = struct.unpack("=5I", self.read(20))
        body = self.read(n)
        return body.decode() if status else np.frombuffer(body, np.uint8).reshape(height, width, channels)


def files():
    folders = [pathlib.Path(pydicom.__file__).parent / "data"]
    extra = importlib.util.find_spec("data_store")
    if extra is not None:
        folders += [pathlib.Path(p) for p in extra.submodule_search_locations or [pathlib.Path(extra.origin).parent]]
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix not in (".py", ".pyc", ".json", ".txt", ".md", ".zip", ".tar"):
                yield path


def first(value):
    return float(value[0] if isinstance(value, pydicom.multival.MultiValue) else value)


def window_range(ds):
    """What pydicom's apply_windowing maps a window to: the stored range, after the modality's transform."""
    if "ModalityLUTSequence" in ds:
        return 0.0, 2.0 ** ds.ModalityLUTSequence[0].LUTDescriptor[2] - 1
    low, high = (0, 2**ds.BitsStored - 1) if ds.PixelRepresentation == 0 else (-(2 ** (ds.BitsStored - 1)), 2 ** (ds.BitsStored - 1) - 1)
    slope, intercept = (float(ds.get("RescaleSlope", 1)), float(ds.get("RescaleIntercept", 0)))
    return low * slope + intercept, high * slope + intercept


def lift_groups(ds, frame):
    """Functional groups as if they were the data set's own: pydicom's functions look only there."""
    for groups in (ds.get("SharedFunctionalGroupsSequence", [None])[0], *ds.get("PerFrameFunctionalGroupsSequence", [])[frame:frame + 1]):
        for name in ("PixelMeasuresSequence", "FrameVOILUTSequence", "PixelValueTransformationSequence"):
            for item in (groups.get(name, [])[:1] if groups is not None else []):
                for element in item:
                    ds[element.tag] = element


def level(t):
    return np.rint(255.0 * np.clip(t, 0.0, 1.0))


def greys(ds, stored):
    x = apply_modality_lut(stored, ds).astype(np.float64)
    if "VOILUTSequence" in ds:
        t = apply_voi_lut(x.astype(np.int64), ds) / (2.0 ** ds.VOILUTSequence[0].LUTDescriptor[2] - 1)
    elif ds.get("WindowCenter") not in (None, "") and ds.get("WindowWidth") not in (None, ""):
        low, high = window_range(ds)
        t = (apply_voi_lut(x, ds) - low) / (high - low)
    else:
        t = (x - x.min()) / max(x.max() - x.min(), 1e-300)
    return level(1.0 - t if ds.PhotometricInterpretation == "MONOCHROME1" else t)


def stretch(image, n, axis):
    """Bilinear, samples at their centres, the edge repeated."""
    size = image.shape[axis]
    at = np.clip((np.arange(n) + 0.5) * size / n - 0.5, 0, size - 1)
    low = np.floor(at).astype(int)
    part = (at - low).reshape([-1 if i == axis else 1 for i in range(3)])
    return image.take(low, axis) * (1 - part) + image.take(np.minimum(low + 1, size - 1), axis) * part


def square(ds, image):
    for name in ("PixelAspectRatio", "PixelSpacing", "ImagerPixelSpacing"):
        ratio = ds.get(name)
        if ratio and float(ratio[0]) > 0 and float(ratio[1]) > 0:
            aspect = float(ratio[0]) / float(ratio[1])
            if aspect > 1:
                return stretch(image, int(np.rint(image.shape[0] * aspect)), 0)
            return stretch(image, int(np.rint(image.shape[1] / aspect)), 1) if aspect < 1 else image
    return image


def reference(ds, frame):
    frames = int(ds.get("NumberOfFrames", 1) or 1)
    stored = pixel_array(ds, index=frame) if frames > 1 else pixel_array(ds)
    lift_groups(ds, frame)
    if ds.PhotometricInterpretation == "PALETTE COLOR":
        if not ds.original_encoding[1] and ds["RedPaletteColorLookupTableData"].VR == "OW":  # pydicom reads them as little endian
            for colour in ("Red", "Green", "Blue"):
                element = ds[f"{colour}PaletteColorLookupTableData"]
                element.value = np.frombuffer(element.value, ">u2").astype("<u2").tobytes()
        bits = ds.RedPaletteColorLookupTableDescriptor[2]
        image = level(apply_color_lut(stored, ds).astype(np.float64) / (2.0**bits - 1))
    elif ds.SamplesPerPixel == 3:
        image = level(stored / (2.0**ds.BitsStored - 1))
    else:
        image = greys(ds, stored)[..., None]
    return np.rint(square(ds, image))


def pydicom_reads(data, frame):
    try:
        pixel_array(pydicom.dcmread(io.BytesIO(data), force=True), index=frame)
        return True
    except Exception:  # of any kind: it reports through many
        return False


def check_samples(tool, data, frame, ds):
    """Samples of greys and palettes, before anything is done to them, are pydicom's to the bit."""
    if ds.SamplesPerPixel != 1 or ds.file_meta.TransferSyntaxUID in LOSSY_JPEG:
        return
    raw = tool.samples(data, frame)
    expected = pixel_array(ds, index=frame) if int(ds.get("NumberOfFrames", 1) or 1) > 1 else pixel_array(ds)
    assert np.array_equal(raw, expected.astype(np.int64) & (2**ds.BitsStored - 1)), f"frame {frame}: samples differ"


def check_file(tool, path):
    """'equal', 'refused: ...', 'only here: ...', or raises AssertionError."""
    data = path.read_bytes()
    ds = pydicom.dcmread(io.BytesIO(data), force=True)
    if not any(name in ds for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        return None
    frames = 1
    try:
        frames = int(ds.get("NumberOfFrames", 1) or 1)
    except ValueError:
        pass
    verdict = "equal"
    for frame in sorted({0, frames - 1}):
        image = tool.decode(data, frame)
        if isinstance(image, str):
            fair = any(reason in image for reason in REASONS) or (ONLY_IF_PYDICOM_FAILS in image and not pydicom_reads(data, frame))
            assert fair, f"refused for no good reason: {image}"
            return "refused: " + image
        try:
            ds = pydicom.dcmread(io.BytesIO(data), force=True)
            expected = reference(ds, frame)
            fresh = pydicom.dcmread(io.BytesIO(data), force=True)
        except Exception as error:  # its own limits, of any kind
            verdict = f"only here: pydicom says {type(error).__name__}"
            continue
        assert image.shape == expected.shape, f"frame {frame}: {image.shape} instead of {expected.shape}"
        check_samples(tool, data, frame, fresh)
        apart = np.abs(image - expected)
        bound = 2 if ds.file_meta.TransferSyntaxUID in LOSSY_JPEG else 1
        assert apart.max() <= bound, f"frame {frame}: {apart.max():.0f} apart, {np.mean(apart > bound):.4f} of the samples beyond {bound}"
    return verdict


TEXTS = ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT")


def expected_text(ds, element, is_told):
    """(the text, None), or (None, a word of the refusal); `is_told`: the file says what the element is."""
    raw = element.value
    if isinstance(raw, (list, pydicom.multival.MultiValue)):
        return (None, "several values") if len(raw) > 1 else (None, "no value")
    raw = str(raw or "") if element.VR == "PN" else raw
    text = str(getattr(raw, "original_string", raw) if raw is not None else "").strip(" \0").replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n")
    if not text:
        return None, "no value"
    if "\\" in text and not is_told:  # else LT, ST, UR or UT
        return None, "several values"
    if not text.isascii() and ds.get("SpecificCharacterSet") not in ("ISO_IR 100", "ISO_IR 192"):
        return None, "character set"
    if element.VR == "AS":
        return (str(int(text[:3])), None) if re.fullmatch(r"\d{3}Y", text) else (None, "not in years")
    return text, None


def check_texts(tool, data, counts):
    """Each text of a header that is read here at all."""
    ds = pydicom.dcmread(io.BytesIO(data), force=True, stop_before_pixels=True)
    written = {tag: ds.get_item(tag).VR for tag in ds.keys()}  # pydicom replaces what is unknown
    for element in ds:
        if element.tag.group <= 2 or element.tag.group >= 0x7FE0 or element.VR not in TEXTS:
            continue
        there, told = tool.text(data, int(element.tag))
        told = told.rstrip("=") if element.VR == "PN" else told  # empty groups, which pydicom drops
        text, reason = expected_text(ds, element, not ds.original_encoding[0] and written[element.tag] != "UN")
        if not there and "not a DICOM file" in told or "transfer syntax" in told or "truncated DICOM" in told or "damaged DICOM" in told:
            return
        assert (told == text) if text is not None else (not there and reason in told), f"{element.tag} {element.VR}: {told!r}, not {text if reason is None else reason!r}"
        counts["texts" if there else reason] = counts.get("texts" if there else reason, 0) + 1


def compare_texts(tool):
    counts, failed = {}, 0
    for path in files():
        try:
            check_texts(tool, path.read_bytes(), counts)
        except AssertionError as error:
            failed += 1
            print(f"WRONG {path.name}: {error}")
    print(f"elements of headers: {counts}, wrong {failed}")
    assert counts.get("texts", 0) >= 1000, "too few texts: is pydicom-data installed?"
    return failed


def check_cut(tool, data, frame, frames):
    """A frame cut out of a file is the same frame, for us and for pydicom."""
    cut = tool.cut(data, frame)
    if cut is None:
        return 0
    assert np.array_equal(tool.decode(cut), tool.decode(data, frame)), f"frame {frame} of {frames}: another image when cut"
    ds = pydicom.dcmread(io.BytesIO(cut), force=True)
    assert int(ds.get("NumberOfFrames", 1) or 1) == 1
    whole = pydicom.dcmread(io.BytesIO(data), force=True)
    try:
        expected = pixel_array(whole, index=frame) if frames > 1 else pixel_array(whole)
    except Exception:  # pydicom's own limits, of any kind
        return 1
    assert np.array_equal(pixel_array(ds), expected), f"frame {frame} of {frames}: pydicom sees other samples when cut"
    return 1


def compare_cuts(tool):
    n = many = failed = 0
    for path in files():
        data = path.read_bytes()
        if isinstance(tool.decode(data), str):
            continue
        frames = int(pydicom.dcmread(io.BytesIO(data), force=True).get("NumberOfFrames", 1) or 1)
        for frame in sorted({0, frames // 2, frames - 1}):
            try:
                cut = check_cut(tool, data, frame, frames)
                n += cut
                many += cut and frames > 1
            except AssertionError as error:
                failed += 1
                print(f"WRONG {path.name}: {error}")
    print(f"{n} frames cut out, {many} of them from several: {failed} wrong")
    assert many >= 10, "too few files of several frames: is pydicom-data installed?"
    return failed


def compare(tool):
    counts, failed = {}, 0
    for path in files():
        try:
            verdict = check_file(tool, path)
        except AssertionError as error:
            failed += 1
            print(f"WRONG {path.name}: {error}")
            continue
        if verdict is not None:
            kind = verdict.split(":")[0]
            counts[kind] = counts.get(kind, 0) + 1
            if kind != "equal":
                print(f"{path.name}: {verdict}")
    print(f"{counts}, wrong {failed}")
    assert counts.get("equal", 0) >= 50, "too few files: is pydicom-data installed?"
    return failed


# --- kinds that pydicom leaves to its caller: against DCMTK's dcmj2pnm, and against numbers worked out here ---


def made(pixels, photometric="MONOCHROME2", **values):
    """The bytes of a file of 2 rows in explicit little endian."""
    pixels = np.asarray(pixels)
    ds = pydicom.Dataset()
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = uid.SecondaryCaptureImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = "1.2.3"
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PixelRepresentation = 2, len(pixels) // 2, 1, int(pixels.min() < 0)
    ds.PhotometricInterpretation, ds.BitsAllocated, ds.BitsStored, ds.HighBit = photometric, 16, 12, 11
    ds.PixelData = pixels.astype("<i2").tobytes()
    for name, value in values.items():
        setattr(ds, name, value)
    stream = io.BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def by_dcmtk(data, folder, *options):
    source, target = folder / "in.dcm", folder / "out.pgm"
    source.write_bytes(data)
    subprocess.run(["dcmj2pnm", "+op", *options, source, target], check=True, capture_output=True)
    return np.frombuffer(target.read_bytes().split(b"255\n", 1)[1], np.uint8).astype(int)


def compare_with_dcmtk(tool, folder):
    """Presentation shape by photometric interpretation by window: within one level."""
    dice, n, wrong = random.Random(3), 0, 0
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        for shape in (None, "IDENTITY", "INVERSE"):
            for function in (None, "LINEAR", "SIGMOID"):
                for _ in range(8):
                    values = {} if shape is None else {"PresentationLUTShape": shape}
                    if function is not None:
                        values |= {"WindowCenter": dice.randrange(4000), "WindowWidth": dice.randrange(2, 4000), "VOILUTFunction": function}
                    values |= {"RescaleSlope": dice.choice((1, 2, 0.5)), "RescaleIntercept": dice.choice((0, -1024, 7))}
                    data = made([dice.randrange(4096) for _ in range(64)], photometric, **values)
                    seen = by_dcmtk(data, folder, "+Wi" if function else "+Wm", *(["1"] if function else []))
                    apart = np.abs(tool.decode(data).reshape(-1).astype(int) - seen).max()
                    n += 1
                    wrong += apart > 1
                    if apart > 1:
                        print(f"WRONG {photometric} {shape} {function}: {apart} apart")
    print(f"{n} greys against dcmj2pnm: {wrong} more than one level apart")
    return wrong


def compare_padding(tool):
    """Without a window: smallest to largest value that is not padding."""
    dice, wrong = random.Random(4), 0
    for i in range(64):
        pixels = np.array([dice.randrange(-2048, 2048) for _ in range(64)])
        a, b = sorted((dice.randrange(-2048, 2048), dice.randrange(-2048, 2048)))
        b = min(b, a + 500)
        pixels[:20] = dice.choice((a, b))
        data = made(pixels, PixelPaddingValue=a, PixelPaddingRangeLimit=b) if i % 2 else made(pixels, PixelPaddingValue=int(pixels[0]))
        kept = pixels[(pixels < a) | (pixels > b)] if i % 2 else pixels[pixels != pixels[0]]
        expected = level((pixels - kept.min()) / (kept.max() - kept.min()))
        wrong += np.abs(tool.decode(data).reshape(-1) - expected).max() > 0
    print(f"64 files with padding: {wrong} differ")
    return wrong


def compare_kinds(tool):
    wrong = compare_padding(tool)
    if shutil.which("dcmj2pnm") is None:
        print("dcmj2pnm is not installed (package dcmtk): not compared with DCMTK")
        return wrong
    with tempfile.TemporaryDirectory() as folder:
        return wrong + compare_with_dcmtk(tool, pathlib.Path(folder))


def mutate(data, chance):
    """Some bytes overwritten, more of them in the header; some files cut."""
    data = bytearray(data)
    for _ in range(chance.choice((1, 2, 4, 16))):
        at = chance.randrange(min(len(data), 2500)) if chance.random() < 0.6 else chance.randrange(len(data))
        data[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
    return bytes(data[:chance.randrange(len(data))] if chance.random() < 0.1 else data)


def survive(tool):
    chance = random.Random(1)
    seeds = [path.read_bytes() for path in files() if 0 < path.stat().st_size < 300000]
    decoded = crashed = 0
    for i in range(N_MUTATED):
        data = mutate(chance.choice(seeds), chance)
        try:
            decoded += not isinstance(tool.decode(data), str)
        except (EOFError, BrokenPipeError) as error:
            crashed += 1
            pathlib.Path(tempfile.gettempdir(), f"palmgrove-crash-{i}.dcm").write_bytes(data)
            print(f"CRASH {i}: {error}")
            tool.start()
    print(f"{N_MUTATED} damaged files: {decoded} decoded, {N_MUTATED - decoded - crashed} refused, {crashed} crashes")
    return crashed


# --- the small files of the corpus ---


def blank(samples, bits):
    y, x = np.mgrid[0:32, 0:48]
    image = 3 * x + 3 * y
    ds = pydicom.Dataset()
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = uid.SecondaryCaptureImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = "1.2.3"
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PixelRepresentation = 32, 48, samples, 0
    ds.PhotometricInterpretation = "RGB" if samples == 3 else "MONOCHROME2"
    if samples == 3:
        ds.PlanarConfiguration = 0
        image = np.stack([image, 255 - image, image // 2], axis=-1)
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = (8, 8, 7) if bits == 8 else (16, bits, bits - 1)
    ds.PixelData = (image.astype("<u1") if bits == 8 else (image * 16).astype("<u2")).tobytes()
    return ds


def by_gdcm(path, syntax):
    import gdcm

    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(path))
    assert writer.Write()


def baseline(ds):
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(ds.pixel_array).save(stream, "JPEG", quality=95)
    ds.PixelData = encaps.encapsulate([stream.getvalue()])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = uid.JPEGBaseline8Bit
    if ds.SamplesPerPixel == 3:
        ds.PhotometricInterpretation = "YBR_FULL_422"


def write_corpus(folder):
    import gdcm

    for name, samples, bits in (("grey8", 1, 8), ("grey12", 1, 12), ("rgb", 3, 8)):
        ds = blank(samples, bits)
        ds.save_as(folder / f"{name}_native.dcm", enforce_file_format=True)
        for kind, syntax in (("rle", uid.RLELossless), ("jls", uid.JPEGLSLossless), ("j2k", uid.JPEG2000Lossless)):
            ds = blank(samples, bits)
            ds.compress(syntax, generate_instance_uid=False)
            ds.save_as(folder / f"{name}_{kind}.dcm", enforce_file_format=True)
        path = folder / f"{name}_lossless.dcm"
        blank(samples, bits).save_as(path, enforce_file_format=True)
        by_gdcm(path, gdcm.TransferSyntax.JPEGLosslessProcess14_1)
        if bits == 8:
            ds = blank(samples, bits)
            baseline(ds)
            ds.save_as(folder / f"{name}_jpeg.dcm", enforce_file_format=True)
    ds = blank(3, 8)
    ds.PhotometricInterpretation = "YBR_RCT"  # the codec's own transform, undone by the decoder
    ds.compress(uid.JPEG2000Lossless, generate_instance_uid=False)
    ds.save_as(folder / "rgb_j2krct.dcm", enforce_file_format=True)
    ds = blank(1, 8)
    ds.SpecificCharacterSet, ds.Modality, ds.PatientAge, ds.AdditionalPatientHistory = "ISO_IR 100", "CR", "045Y", "r\xe9cent\r\nfever"
    ds.save_as(folder / "grey8_texts.dcm", enforce_file_format=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=pathlib.Path, metavar="FOLDER")
    folder = parser.parse_args().corpus
    warnings.simplefilter("ignore")
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        write_corpus(folder)
        return 0
    tool = Tool()
    failed = compare_kinds(tool) + compare(tool) + compare_cuts(tool) + compare_texts(tool)
    return 1 if survive(tool) + failed else 0


if __name__ == "__main__":
    sys.exit(main())
