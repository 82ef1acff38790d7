"""What a file is that holds no PyTorch weights, told by its name and its first bytes."""

from pathlib import Path

from residuum.errors import UserError

_BY_SUFFIX = {
    ".onnx": "an ONNX graph",
    ".npz": "NumPy arrays, as the Big Transfer nets were published",
    ".npy": "a NumPy array",
    ".h5": "a Keras file",
    ".hdf5": "a Keras file",
    ".keras": "a Keras file",
    ".pb": "a TensorFlow graph",
    ".msgpack": "a Flax file",
    ".tflite": "a TensorFlow Lite graph",
    ".gguf": "a GGUF file",
    ".mlmodel": "a Core ML model",
    ".engine": "a TensorRT engine",
}
_LFS = b"version https://git-lfs.github.com/spec"
_BY_START: tuple[tuple[bytes, str, str], ...] = (
    (_LFS, "a pointer of Git LFS: the weights themselves are not there", "git lfs pull"),
    (b"\x89HDF", "an HDF5 file, as Keras writes", ""),
    (b"GGUF", "a GGUF file", ""),
    (b"\x93NUMPY", "a NumPy array", ""),
    (b"\x1f\x8b", "compressed by gzip", "unpack it: gunzip or tar xzf"),
    (b"BZh", "compressed by bzip2", "unpack it: bunzip2"),
    (b"\xfd7zXZ", "compressed by xz", "unpack it: unxz"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "unpack it: unzstd"),
    (b"7z\xbc\xaf", "a 7-Zip archive", "unpack it"),
    (b"Rar!", "a RAR archive", "unpack it"),
    (b"%PDF", "a PDF document", ""),
    (b"\x89PNG", "a picture", ""),
    (b"\xff\xd8\xff", "a picture", ""),
)
_TEXT = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<!--")


def check_kind(path: Path) -> None:
    """Raise UserError for a file that is empty, or of a kind that holds no PyTorch weights."""
    if kind := _BY_SUFFIX.get(path.suffix.lower()):
        raise _other(path, f"it is {kind}")
    start = _start(path)
    if is_safetensors(path):
        return
    if not start:
        raise UserError(f"{path} is empty", "it has no bytes: a download or a copy did not finish", "fetch it again")
    if not start.strip(b"\0"):
        raise UserError(f"{path} begins with zeros alone", "a download or a copy did not finish", "fetch it again")
    for begins, kind, mend in _BY_START:
        if start.startswith(begins):
            raise _other(path, f"it is {kind}", mend)
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.lower().startswith(_TEXT):
        mend = "fetch the file itself: its address is often the one behind a button named raw or download"
        raise _other(path, "it is a web page: what was asked for is elsewhere, or wants a sign-in", mend)
    if text[:1] in {b"{", b"["} and path.stat().st_size < 2**20:
        raise _other(path, "it is JSON: perhaps an error message, or settings that lie beside weights")
    if start[257:262] == b"ustar":
        raise _other(path, "it is a tar archive", "unpack it: tar xf")


def is_safetensors(path: Path) -> bool:
    """Say whether a file begins as safetensors: a length may read like a pickle's or an archive's first bytes."""
    start = _start(path)
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= path.stat().st_size - 8


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(512)


def _other(path: Path, why: str, mend: str = "") -> UserError:
    return UserError(
        f"{path} is not a PyTorch checkpoint", why, mend or "give a .safetensors file or one written by torch.save"
    )
