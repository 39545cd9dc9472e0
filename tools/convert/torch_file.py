"""A PyTorch checkpoint file (.pt, the zip layout of torch >= 1.6) read without PyTorch and without trusting it.

    ARCHIVE/data.pkl     a pickle: names and tensors, each tensor a view (offset, shape, strides) of a storage
    ARCHIVE/data/KEY     the bytes of one storage, uncompressed
    ARCHIVE/byteorder    "little"

A pickle is a program.  The unpickler here knows six names, none of which runs anything but the functions of this file; any other name
is refused and told.  Sizes are checked against the archive before anything is read, and a tensor's bytes are read in pieces."""
import collections
import math
import pickle
import struct
import zipfile
import zlib

MAX_PICKLE = 64 << 20  # bytes; a state dict of a thousand tensors takes a tenth of a MB
MAX_TENSORS = 100_000

TYPES = {"FloatStorage": ("F32", 4), "HalfStorage": ("F16", 2), "BFloat16Storage": ("BF16", 2)}

Storage = collections.namedtuple("Storage", "key dtype itemsize count")


# What zipfile raises, depending on which of its bytes are wrong.
_BROKEN_ZIP = (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, struct.error, ValueError, NotImplementedError, RuntimeError, EOFError, IndexError,
               OverflowError, KeyError)


class Refused(Exception):
    """The file is not what this reader takes; the text says why."""


class Tensor(collections.namedtuple("Tensor", "storage offset shape")):
    """A row-major view; the offset in elements."""

    __slots__ = ()

    @property
    def count(self):
        return math.prod(self.shape)

    @property
    def bytes(self):
        return self.count * self.storage.itemsize


def _whole(value, what):
    if type(value) is not int or not 0 <= value < 1 << 48:
        raise Refused(f"{what} is {value!r:.60}")
    return value


def _rebuild_tensor(storage, offset, shape, strides, *_):
    if not isinstance(storage, Storage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
        raise Refused("a tensor is not built from a storage, an offset, a shape and strides")
    if not 1 <= len(shape) <= 4 or len(shape) != len(strides):
        raise Refused(f"a tensor has {len(shape)} dimensions and {len(strides)} strides")
    shape = tuple(_whole(n, "a tensor's dimension") for n in shape)
    expected = 1
    for n, stride in zip(reversed(shape), reversed(strides)):
        if n != 1 and stride != expected:
            raise Refused(f"a tensor of shape {shape} has strides {strides!r:.60}; only row-major ones are read: save it after .contiguous()")
        expected *= n
    tensor = Tensor(storage, _whole(offset, "a tensor's offset"), shape)
    if not 0 < tensor.count <= storage.count - tensor.offset:
        raise Refused(f"a tensor of shape {shape} at {offset} lies outside its storage of {storage.count} elements")
    return tensor


def _rebuild_parameter(data, *_):
    return data


class _StorageType(collections.namedtuple("_StorageType", "dtype itemsize")):
    __slots__ = ()


# pickle's implementation in Python: the one in C lets a pickle grow its memo to any size it names.
class _Unpickler(pickle._Unpickler):
    KNOWN = {
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
        ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
        **{("torch", name): _StorageType(*kind) for name, kind in TYPES.items()},
    }

    def find_class(self, module, name):
        if (module, name) not in self.KNOWN:
            raise Refused(f"it asks for '{module}.{name}', which no plain state dict of F32, F16 or BF16 tensors needs")
        return self.KNOWN[module, name]

    def persistent_load(self, pid):
        if not isinstance(pid, tuple) or len(pid) != 5 or pid[0] != "storage" or not isinstance(pid[1], _StorageType) or not isinstance(pid[2], str):
            raise Refused("a reference is not to a storage")
        return Storage(pid[2], pid[1].dtype, pid[1].itemsize, _whole(pid[4], "a storage's size"))


class TorchFile:
    """`tensors`: names and Tensors in the file's order.  Everything was checked against the archive when the constructor returns.

    Raises Refused, and OSError when there is no such file."""

    def __init__(self, path):
        try:
            self._zip = zipfile.ZipFile(path)
        except _BROKEN_ZIP as error:
            raise Refused(f"'{path}' is not a zip archive ({error}); files of torch before 1.6 have to be saved again") from error
        try:
            self._open(path)
        except (*_BROKEN_ZIP, OSError) as error:
            raise Refused(f"'{path}' is a broken archive: {error!s:.100}") from error

    def _open(self, path):
        pickles = [name for name in self._zip.namelist() if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(pickles) != 1:
            raise Refused(f"'{path}' holds {len(pickles)} data.pkl, not one: it was not written by torch.save")
        self._folder = pickles[0].removesuffix("data.pkl")
        self._check_order(path)
        self.tensors = self._load(path, pickles[0])
        for name, tensor in self.tensors.items():
            self._check_storage(path, name, tensor.storage)

    def _check_order(self, path):
        name = self._folder + "byteorder"
        if name in self._zip.namelist() and self._bytes(name, 16) != b"little":
            raise Refused(f"'{path}' is not little-endian")

    def _entry(self, name):
        info = self._zip.getinfo(name)
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise Refused(f"its entry '{name}' is compressed; torch.save does not compress")
        return info

    def _bytes(self, name, most):
        info = self._entry(name)
        if info.file_size > most:
            raise Refused(f"its entry '{name}' has {info.file_size} bytes; at most {most} are taken")
        with self._zip.open(info) as entry:
            return entry.read()

    def _load(self, path, name):
        try:
            with self._zip.open(self._entry(name)) as entry:
                if self._entry(name).file_size > MAX_PICKLE:
                    raise Refused(f"its pickle is larger than {MAX_PICKLE} bytes")
                loaded = _Unpickler(entry).load()
        except Refused as refusal:
            raise Refused(f"'{path}' is refused: {refusal}") from refusal
        except Exception as failure:  # a broken pickle fails in any way it likes
            raise Refused(f"'{path}' holds a broken pickle: {type(failure).__name__}: {failure!s:.100}") from failure
        if not isinstance(loaded, dict) or not 0 < len(loaded) <= MAX_TENSORS:
            raise Refused(f"'{path}' holds a {type(loaded).__name__}, not a state dict of names and tensors")
        for key, value in loaded.items():
            if not isinstance(key, str) or not isinstance(value, Tensor):
                raise Refused(f"'{path}': {key!r:.80} is a {type(value).__name__}; a plain state dict maps names to tensors")
        return loaded

    def _check_storage(self, path, name, storage):
        entry = f"{self._folder}data/{storage.key}"
        if entry not in self._zip.namelist():
            raise Refused(f"'{path}': the storage of '{name}' is missing: the file is cut")
        size = self._entry(entry).file_size
        if size != storage.count * storage.itemsize:
            raise Refused(f"'{path}': the storage of '{name}' has {size} bytes and should have {storage.count * storage.itemsize}")

    def pieces(self, tensor, first_row=0, n_rows=None, most=8 << 20):
        """The bytes of rows [first_row, first_row + n_rows) in pieces of at most `most`, a multiple of the element size."""
        row = tensor.bytes // tensor.shape[0]
        left = row * (tensor.shape[0] - first_row if n_rows is None else n_rows)
        try:
            with self._zip.open(self._entry(f"{self._folder}data/{tensor.storage.key}")) as entry:
                entry.seek(tensor.offset * tensor.storage.itemsize + first_row * row)
                while left > 0:
                    piece = entry.read(min(left, most))
                    if not piece:
                        raise Refused("the file ends within a tensor")
                    left -= len(piece)
                    yield piece
        except (*_BROKEN_ZIP, OSError) as error:
            raise Refused(f"the bytes of storage {tensor.storage.key!r:.20} are broken: {error!s:.100}") from error

    def close(self):
        self._zip.close()
